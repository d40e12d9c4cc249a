import asyncio

import pytest

from infra.cancellation import end, run_together


async def stubborn(swallows: int) -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            swallows -= 1
            if swallows < 0:
                raise


async def failing() -> None:
    raise ValueError("over already")


async def test_a_task_that_swallows_a_cancellation_ends_all_the_same() -> None:
    tasks = [asyncio.create_task(stubborn(0)), asyncio.create_task(stubborn(1)), asyncio.create_task(failing())]
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await end(tasks)
    assert all(task.done() for task in tasks)


async def test_nothing_to_end() -> None:
    await end([])


async def test_whoever_is_cancelled_while_it_ends_tasks_ends_them_first() -> None:
    tasks = [asyncio.create_task(stubborn(3))]
    await asyncio.sleep(0)
    ending = asyncio.create_task(end(tasks))
    for _ in range(2):
        await asyncio.sleep(0)
        ending.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await ending
    assert tasks[0].done()


async def test_what_runs_together_ends_together_and_says_why() -> None:
    async with asyncio.timeout(20):
        with pytest.raises(ValueError, match="over already"):
            await run_together(stubborn(1), failing(), stubborn(0))


async def test_what_runs_together_is_over_when_it_was_cancelled() -> None:
    together = asyncio.create_task(run_together(stubborn(2), stubborn(0)))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        await end([together])
    assert together.cancelled()
    assert [task for task in asyncio.all_tasks() if "stubborn" in repr(task)] == []
