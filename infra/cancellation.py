"""Ending tasks for good."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

_AGAIN_S: Final = 1.0


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks, and return when they are over, however they end.

    Once is not always enough: a client that is cancelled just as its own time is up tells of a timeout instead, and
    whoever goes on after a timeout then goes on. Who is cancelled while waiting here still ends them first.
    """
    pending = set(tasks)
    interruption: asyncio.CancelledError | None = None
    while pending:
        for task in pending:
            task.cancel()
        try:
            done, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
        except asyncio.CancelledError as error:
            interruption = error
            continue
        for task in done:
            if not task.cancelled():
                task.exception()  # looked at, so that nobody complains that nobody did
    if interruption is not None:
        raise interruption


async def run_together(*work: Coroutine[Any, Any, None]) -> None:
    """Run until the first one is over, or this is cancelled; then the others are ended for good.

    A task group cancels each of its tasks once, and waits for ever for one that goes on.

    Raises:
        Exception: What ended the first one.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        over, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(tasks)
    for task in over:
        task.result()
