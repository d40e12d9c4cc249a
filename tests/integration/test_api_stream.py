"""The live stream over a real Redis, served by a real server."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import redis.asyncio
import uvicorn
import websockets

from api.app import create_app
from api.live.hub import Hub
from api.live.messages import PIECE_BYTES, Message, server_sent_events
from api.live.subscription import EVENTS_MAX, Subscription
from infra.postgres.migrate import migrate
from infra.redis.live import STREAM, LiveEntry, LiveFeed
from infra.settings import Settings
from streams.live import LiveTeller
from tests.integration.test_api import store
from tests.support.journal import Journal, deposit, fill, sample_account

pytestmark = pytest.mark.integration

NO_REDIS = "redis://127.0.0.1:1/0"


@asynccontextmanager
async def listening(database_url: str, redis_url: str) -> AsyncIterator[str]:
    app = create_app(
        Settings(database_url=database_url, redis_url=redis_url, kafka_brokers="127.0.0.1:1", _env_file=None)
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, log_config=None, timeout_graceful_shutdown=1, lifespan="on", ws="websockets-sansio"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


class Events:
    """A client of Server-Sent Events."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self, topic: str | None = None) -> dict[str, Any]:
        """The next event, or the next one of a topic."""
        async with asyncio.timeout(20):
            while True:
                event = await self._one()
                if event and (topic is None or event["event"] == topic):
                    return event

    async def _one(self) -> dict[str, Any]:
        event: dict[str, Any] = {}
        async for line in self._lines:
            if not line:
                return event if "event" in event else {}
            name, _, value = line.partition(": ")
            if name in {"event", "id"}:
                event[name] = value
            elif name == "data":
                event["data"] = json.loads(value)
        raise AssertionError("the stream has ended")


@asynccontextmanager
async def reading(address: str, query: str = "", **headers: str) -> AsyncIterator[Events]:
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", f"http://{address}/portfolio/stream{query}", headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = Events(response)
        assert (await events.next())["event"] == "hello"
        yield events


@pytest.fixture
async def url(database_url: str) -> str:
    await migrate(database_url)
    return database_url


@pytest.fixture
async def teller(redis_url: str) -> AsyncIterator[LiveTeller]:
    async with redis.asyncio.from_url(redis_url) as client:
        await client.delete(STREAM)
    teller = LiveTeller(redis_url)
    yield teller
    await teller.close()


async def test_what_is_stored_is_told(url: str, redis_url: str, teller: LiveTeller) -> None:
    journal = Journal()
    async with listening(url, redis_url) as address, reading(address) as events:
        await teller.tell([journal.page(deposit("d", "USDT", "1000"), fill(1, "BUY", "1", "100"))], [])
        trade = await events.next("trades")
        assert trade["data"]["booked"]["event"]["symbol"] == "BTCUSDT"
        position = await events.next("positions")
        assert position["data"]["snapshot"]["quantity"] == "1"
        pnl = await events.next("pnl")
        assert pnl["data"]["snapshot"]["equity"] == "1000"
        assert pnl["id"]


async def test_a_stream_resumes_where_it_was(url: str, redis_url: str, teller: LiveTeller) -> None:
    journal = Journal()
    async with listening(url, redis_url) as address:
        async with reading(address, "?topics=trades") as events:
            await teller.tell([journal.page(deposit("d", "USDT", "1000"), fill(1, "BUY", "1", "1"))], [])
            first = await events.next("trades")
        await teller.tell([journal.page(fill(number, "BUY", "1", "1")) for number in range(2, 6)], [])
        async with reading(address, "?topics=trades", **{"Last-Event-ID": first["id"]}) as events:
            numbers = [(await events.next("trades"))["data"]["booked"]["event"]["trade_id"] for _ in range(4)]
        assert numbers == [2, 3, 4, 5]
        async with reading(address, f"?topics=trades&last_event_id={first['id']}") as events:
            assert (await events.next("trades"))["data"]["booked"]["event"]["trade_id"] == 2


async def test_what_is_no_longer_kept_is_told_as_a_gap(url: str, redis_url: str, teller: LiveTeller) -> None:
    await teller.tell([Journal().page(deposit("d", "USDT", "1000"))], [])
    async with listening(url, redis_url) as address, reading(address, "?last_event_id=5-0") as events:
        assert "no longer kept" in (await events.next("gap"))["data"]["reason"]


async def test_two_instances_tell_the_same(url: str, redis_url: str, teller: LiveTeller) -> None:
    async with (
        listening(url, redis_url) as one,
        listening(url, redis_url) as other,
        reading(one, "?topics=pnl") as first,
        reading(other, "?topics=pnl") as second,
    ):
        await teller.tell([Journal().page(deposit("d", "USDT", "7"))], [])
        assert await first.next("pnl") == await second.next("pnl")


async def test_a_reader_gets_its_account_only(url: str, redis_url: str, teller: LiveTeller) -> None:
    async with listening(url, redis_url) as address, reading(address, "?account=second&topics=pnl") as events:
        await teller.tell([Journal().page(deposit("d", "USDT", "7"))], [])
        await teller.tell([Journal("second").page(deposit("d", "USDT", "8"))], [])
        assert (await events.next("pnl"))["data"]["snapshot"]["account"] == "second"


async def test_a_websocket_tells_the_same(url: str, redis_url: str, teller: LiveTeller) -> None:
    async with (
        listening(url, redis_url) as address,
        websockets.connect(f"ws://{address}/portfolio/stream?topics=pnl") as client,
    ):
        assert json.loads(await client.recv())["topic"] == "hello"
        await teller.tell([Journal().page(deposit("d", "USDT", "7"))], [])
        async with asyncio.timeout(20):
            message = json.loads(await client.recv())
        assert (message["topic"], message["account"]) == ("pnl", "main")
        assert message["data"]["snapshot"]["equity"] == "7"
        assert message["id"]


@pytest.mark.parametrize("query", ["topics=secrets", "last_event_id=x"])
async def test_what_cannot_be_subscribed_to_is_a_problem(url: str, redis_url: str, query: str) -> None:
    async with listening(url, redis_url) as address, httpx.AsyncClient() as client:
        answer = await client.get(f"http://{address}/portfolio/stream?{query}")
        assert answer.status_code == 422
        assert query.partition("=")[0] in answer.json()["detail"]
        with pytest.raises(websockets.InvalidStatus):
            async with websockets.connect(f"ws://{address}/portfolio/stream?{query}"):
                pass


async def test_without_redis_a_change_of_the_books_is_told(url: str) -> None:
    _, updates = sample_account()
    async with listening(url, NO_REDIS) as address, reading(address) as events:
        assert "Redis is away" in (await events.next("degraded"))["data"]["reason"]
        await store(url, updates)
        while (await events.next("changed"))["data"]["log_position"] != f"main@3:{len(updates) - 1}":
            pass


async def test_a_feed_that_comes_back_is_told(url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with redis.asyncio.from_url(redis_url) as client, listening(url, redis_url) as address:
        await client.delete(STREAM)
        async with reading(address, "?topics=pnl") as events:
            await client.set(STREAM, "no stream")  # whatever is asked of the feed fails
            await events.next("degraded")
            await client.delete(STREAM)
            await events.next("recovered")


async def test_readers_that_come_all_at_once_are_told_what_they_missed(redis_url: str, teller: LiveTeller) -> None:
    feed = LiveFeed(redis_url)
    await feed.add([LiveEntry("", "trades", "main", "", b"{}")] * 3)
    (first, *_) = await feed.after("0-0", wait=False)

    async def no_positions() -> str:
        raise AssertionError("the feed is there")

    hub = Hub(feed, no_positions)
    readers = [Subscription(frozenset({"trades"}), None) for _ in range(300)]
    running = asyncio.create_task(hub.run())
    async with asyncio.timeout(60):
        await asyncio.gather(*(hub.join(reader, first.id) for reader in readers))
        told = [[one.topic for one in await reader.take()] for reader in readers]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert told == [["trades", "trades"]] * 300


async def somebody_waits(client: Any) -> bool:
    clients = await client.info("clients")
    return bool(clients["blocked_clients"])


async def test_what_is_told_together_arrives_together(redis_url: str, teller: LiveTeller) -> None:
    feed = LiveFeed(redis_url)
    entries: list[LiveEntry] = []
    async with redis.asyncio.from_url(redis_url) as client, asyncio.timeout(60):
        while not entries:  # again where its second was over before something was added
            waiting = asyncio.create_task(feed.after(await feed.newest_id(), wait=True))
            while not waiting.done() and not await somebody_waits(client):  # noqa: ASYNC110 - Redis has no event for it
                await asyncio.sleep(0.01)
            await feed.add([LiveEntry("", "pnl", "main", str(number), b"{}") for number in range(4)])
            entries = await waiting
    await feed.close()
    assert [entry.key for entry in entries] == ["0", "1", "2", "3"]


def message(number: int, key: str = "", topic: str = "positions") -> Message:
    return Message.of_entry(LiveEntry(f"{number}-0", topic, "main", key, b"{}"))


async def test_a_slow_reader_is_told_the_newest_of_each_state_in_order() -> None:
    reader = Subscription(frozenset({"positions"}), None)
    for number in range(1, 1_001):
        reader.offer(message(number, key=f"main:{number % 3}"))
    assert [one.id for one in await reader.take()] == ["998-0", "999-0", "1000-0"]
    reader.close()
    assert await reader.take() == []


def test_what_waits_is_sent_in_few_pieces_but_never_much_at_once() -> None:
    entry = LiveEntry("1-0", "trades", "main", "", b'"' + b"x" * 5_000 + b'"')
    messages = [Message.of_entry(entry)] * 100
    pieces = list(server_sent_events(messages))
    assert b"".join(pieces) == messages[0].sse * 100
    assert len(pieces) == 8
    assert max(map(len, pieces)) < PIECE_BYTES + 6_000
    assert list(server_sent_events(messages[:3])) == [messages[0].sse * 3]


async def test_what_is_missed_and_told_meanwhile_comes_once_and_in_order() -> None:
    reader = Subscription(frozenset({"positions", "trades"}), None)
    for number in (8, 9):
        reader.offer(message(number, key="main:1"))
        reader.offer(message(number + 10, topic="trades"))
    for number in (7, 8):
        reader.offer(message(number, key="main:1"))
        reader.offer(message(number + 10, topic="trades"))
    assert [one.id for one in await reader.take()] == ["9-0", "17-0", "18-0", "19-0"]


async def test_a_reader_that_was_told_nothing_for_a_round_gets_one_heartbeat() -> None:
    reader = Subscription(frozenset({"trades"}), None)
    reader.offer(message(1, topic="trades"))
    await reader.take()
    for _ in range(3):
        reader.beat()
    assert [one.topic for one in await reader.take()] == ["heartbeat"]
    reader.beat()
    reader.close()
    assert await reader.take() == []


async def test_a_slow_reader_is_told_that_events_were_left_out() -> None:
    reader = Subscription(frozenset({"trades"}), None)
    for number in range(1, EVENTS_MAX + 11):
        reader.offer(message(number, topic="trades"))
    gap, *rest = await reader.take()
    assert (gap.topic, json.loads(gap.data)["left_out"], len(rest)) == ("gap", 10, EVENTS_MAX)
    assert rest[0].id == "11-0"


async def test_the_feed_keeps_a_bounded_number(redis_url: str, teller: LiveTeller) -> None:
    feed = LiveFeed(redis_url)
    await feed.add([LiveEntry("", "pnl", "main", "main", b"{}")] * 1_500)
    assert len(await feed.after("0-0", wait=False)) == 1_000
    assert await feed.keeps_all_after(await feed.newest_id())
    await feed.close()
