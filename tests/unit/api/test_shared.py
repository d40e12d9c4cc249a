"""What many ask at once is asked once."""

import asyncio

import pytest

from api.shared import Shared
from infra.postgres.errors import DatabaseUnavailable


async def test_nobody_is_told_what_was_asked_before_they_came() -> None:
    asked: list[asyncio.Future[str]] = []

    async def ask() -> str:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    versions = Shared(ask)
    first = asyncio.create_task(versions.now())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(versions.now()) for _ in range(3)]
    await asyncio.sleep(0)
    assert len(asked) == 1
    asked[0].set_result("one")
    assert await first == "one"
    for _ in range(10):
        await asyncio.sleep(0)
    asked[1].set_result("two")
    assert await asyncio.gather(*later) == ["two"] * 3
    assert len(asked) == 2


async def test_everybody_who_waits_is_told_that_it_failed_and_the_next_may_ask_again() -> None:
    answers: list[str | Exception] = [DatabaseUnavailable("away"), "back"]

    async def ask() -> str:
        await asyncio.sleep(0)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    versions = Shared(ask)
    told = await asyncio.gather(versions.now(), versions.now(), return_exceptions=True)
    assert all(isinstance(one, DatabaseUnavailable) for one in told)
    assert await versions.now() == "back"


async def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    ready = asyncio.Event()

    async def ask() -> str:
        await ready.wait()
        return "one"

    versions = Shared(ask)
    leaving, staying = asyncio.create_task(versions.now()), asyncio.create_task(versions.now())
    await asyncio.sleep(0)
    leaving.cancel()
    ready.set()
    assert await staying == "one"
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_it_is_asked_no_more_often_than_it_may_be() -> None:
    loop = asyncio.get_running_loop()
    asked_s: list[float] = []

    async def ask() -> int:
        asked_s.append(loop.time())
        return len(asked_s)

    versions = Shared(ask, every_s=0.1)
    assert await versions.now() == 1
    assert await asyncio.gather(*(versions.now() for _ in range(50))) == [2] * 50
    assert await versions.now() == 3
    assert asked_s[1] - asked_s[0] >= 0.09
    assert asked_s[2] - asked_s[1] >= 0.09
