"""Services of this process that run beside a test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager


@asynccontextmanager
async def running(*work: Awaitable[None]) -> AsyncIterator[None]:
    """Let work go on for as long as the block lasts; what ended it early is raised at the end."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
