"""Asking once for all who want to know the same thing at the same time."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Shared(Generic[_T]):
    """Something that is asked once for all who want to know it at the same time."""

    def __init__(self, ask: Callable[[], Awaitable[_T]], *, every_s: float = 0.0) -> None:
        """Prepare.

        Args:
            ask: Finds it out.
            every_s: How long after the beginning of one asking the next begins at the earliest.
        """
        self._ask = ask
        self._every_s = every_s
        self._asked_s = -math.inf
        self._next: asyncio.Future[_T] | None = None
        self._asking: asyncio.Task[None] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for it."""
        return self._asking is not None

    async def now(self) -> _T:
        """What it is now, asked no earlier than this call.

        Raises:
            Exception: What asking raises.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        waiting = self._next
        if self._asking is None:
            self._asking = asyncio.create_task(self._answer())
        return await asyncio.shield(waiting)

    async def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        while self._next is not None:
            if (rest_s := self._asked_s + self._every_s - loop.time()) > 0:
                await asyncio.sleep(rest_s)
            waiting, self._next = self._next, None
            self._asked_s = loop.time()
            try:
                told = await self._ask()
            except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
                waiting.set_exception(error)
                waiting.exception()  # there may be nobody left who wants to know
            else:
                waiting.set_result(told)
        self._asking = None
