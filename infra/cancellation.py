"""Ending tasks for good."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN_S: Final = 1.0


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks, and return when they are over, however they end.

    Once is not always enough: a client that is cancelled just as its own time is up tells of a timeout instead, and
    whoever goes on after a timeout then goes on.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()  # looked at, so that nobody complains that nobody did
