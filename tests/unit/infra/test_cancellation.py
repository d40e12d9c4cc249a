import asyncio

from infra.cancellation import end


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
