"""User data over one connection after another: nothing missed, nothing twice, nothing out of order."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest

from infra.binance.errors import StreamLost
from infra.binance.rest import BinanceRest
from infra.binance.user_feed import open_user_feed
from infra.binance.user_stream import Liveness
from tests.support.user_stream_server import UserStreamServer, event, number_of, running_server, until

SHUTDOWN = json.dumps({"event": {"e": "serverShutdown", "E": 1}})
TERMINATED = json.dumps({"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": 1}})
DAY_S = 86_000.0


class Following:
    """What a feed gave, until it ended."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.handovers = 0
        self.error: Exception | None = None

    def note_handover(self) -> None:
        self.handovers += 1


@asynccontextmanager
async def following(server: UserStreamServer, age_max_s: float = DAY_S) -> AsyncIterator[Following]:
    followed = Following()
    async with AsyncExitStack() as stack:
        rest = BinanceRest(rest_url="http://127.0.0.1:9", api_key="key", secret_key="secret")
        stack.push_async_callback(rest.close)
        now_us = time.time_ns() // 1_000
        rest.venue.clock.set_from(sent_us=now_us, received_us=now_us, exchange_us=now_us)
        feed = await stack.enter_async_context(
            open_user_feed(
                server.url,
                rest,
                age_max_s=age_max_s,
                on_handover=followed.note_handover,
                liveness=Liveness(60, 60, 5),
            )
        )

        async def read() -> None:
            try:
                async with aclosing(feed.frames()) as frames:
                    async for frame in frames:
                        followed.numbers.append(number_of(frame))
            except StreamLost as error:
                followed.error = error

        task = asyncio.create_task(read())
        try:
            yield followed
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def is_open(server: UserStreamServer, number: int) -> bool:
    return server.connections[number].close_code is None


async def test_a_shutdown_is_survived_by_a_new_connection_while_events_go_on() -> None:
    async with running_server() as server, following(server) as followed:
        numbers = itertools.count(1)
        for _ in range(20):
            await server.tell(next(numbers))
        await server.connections[0].send(SHUTDOWN)
        while followed.handovers == 0:
            await server.tell(next(numbers))
            await asyncio.sleep(0.002)
        for _ in range(20):
            await server.tell(next(numbers))
        last = next(numbers) - 1
        await until(lambda: len(followed.numbers) >= last)
        assert followed.numbers == list(range(1, last + 1))
        await until(lambda: not is_open(server, 0))
        assert is_open(server, 1)


async def test_at_a_certain_age_it_changes_again_and_again_and_nothing_is_missed() -> None:
    async with running_server() as server, following(server, age_max_s=0.2) as followed:
        numbers = itertools.count(1)
        while followed.handovers < 5:
            await server.tell(next(numbers))
            await asyncio.sleep(0.001)
        last = next(numbers) - 1
        await until(lambda: len(followed.numbers) >= last)
        assert followed.numbers == list(range(1, last + 1))
        assert followed.error is None


async def test_when_nothing_happens_a_moment_of_quiet_is_the_seam() -> None:
    async with running_server() as server, following(server) as followed:
        await server.connections[0].send(SHUTDOWN)
        await until(lambda: followed.handovers == 1)
        await until(lambda: not is_open(server, 0))
        await server.tell(1)
        await until(lambda: followed.numbers == [1])


async def test_what_the_new_connection_tells_first_waits_for_the_old_one() -> None:
    async with running_server() as server, following(server) as followed:
        await server.connections[0].send(SHUTDOWN)
        await until(lambda: bool(server.paths[1:]) and len(server.asked("userDataStream.subscribe.signature")) == 2)
        await asyncio.sleep(0.05)
        for number in (2, 3, 4):
            await server.tell(number, to=1)
        await asyncio.sleep(0.05)
        assert followed.numbers == []
        for number in (1, 2, 3):
            await server.tell(number, to=0)
        await until(lambda: followed.numbers == [1, 2, 3, 4])
        # What the old one was too slow to tell is no news any more.
        await server.tell(5, to=1)
        await until(lambda: followed.numbers == [1, 2, 3, 4, 5])


async def test_an_old_connection_that_ends_after_its_last_event_leaves_no_gap() -> None:
    async with running_server() as server, following(server) as followed:
        await server.connections[0].send(SHUTDOWN)
        await until(lambda: len(server.asked("ping")) == 1)
        await asyncio.sleep(0.05)
        await server.connections[0].close()
        await until(lambda: followed.handovers == 1)
        await server.tell(1, to=1)
        await until(lambda: followed.numbers == [1])


@pytest.mark.parametrize("told_by_new", [True, False])
async def test_where_something_may_be_missing_the_feed_ends(told_by_new: bool) -> None:
    """The old connection breaks before it has told what the new one tells, or before there is a new one at all."""

    async def never(_request: dict[str, Any]) -> None:
        return None

    async with running_server() as server, following(server) as followed:
        if not told_by_new:
            server.answers["userDataStream.subscribe.signature"] = never
        server.answers["ping"] = never
        await server.connections[0].send(SHUTDOWN)
        await until(lambda: len(server.asked("userDataStream.subscribe.signature")) == 2)
        if told_by_new:
            await until(lambda: len(server.asked("ping")) == 1)
            await server.tell(2, to=1)
            await asyncio.sleep(0.05)
        server.connections[0].transport.abort()
        await until(lambda: followed.error is not None)
        assert followed.numbers == []
        assert followed.handovers == 0


@pytest.mark.slow
async def test_connections_that_tell_different_things_are_given_up() -> None:
    async with running_server() as server, following(server) as followed:
        await server.connections[0].send(SHUTDOWN)
        await until(lambda: len(server.asked("ping")) == 1)
        await server.tell(1, to=1)
        await until(lambda: followed.error is not None)
        assert "do not tell the same" in str(followed.error)


async def test_a_terminated_subscription_ends_the_feed() -> None:
    async with running_server() as server, following(server) as followed:
        await server.tell(1)
        await server.connections[0].send(TERMINATED)
        await until(lambda: followed.error is not None)
        assert followed.numbers == [1]


async def test_a_new_connection_that_is_refused_is_tried_again_while_the_old_one_lives() -> None:
    attempts = 0

    async def refuse_twice(_request: dict[str, Any]) -> dict[str, Any]:
        nonlocal attempts
        attempts += 1
        if attempts <= 2:
            return {"status": 503, "error": {"code": -1000, "msg": "Unavailable"}}
        return {"status": 200, "result": {}}

    async with running_server() as server, following(server) as followed:
        server.answers["userDataStream.subscribe.signature"] = refuse_twice
        await server.connections[0].send(SHUTDOWN)
        await until(lambda: attempts == 2)
        await server.connections[0].send(event(1))
        await until(lambda: followed.numbers == [1])
        await until(lambda: followed.handovers == 1)
