"""An event loop whose time passes only by waiting, and then at once: hours of timeouts in a moment."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that jumps to the next timer when nothing is left to do before it."""

    virtual_s = 1_000.0

    def time(self) -> float:
        return self.virtual_s

    def _run_once(self) -> None:
        ready: Any = getattr(self, "_ready")  # noqa: B009 - asyncio's own, unknown to type checkers
        scheduled: Any = getattr(self, "_scheduled")  # noqa: B009
        if not ready and scheduled:
            self.virtual_s = max(self.virtual_s, scheduled[0].when())
        getattr(super(), "_run_once")()  # noqa: B009


def run_in_virtual_time(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run to the end, in a loop of virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
