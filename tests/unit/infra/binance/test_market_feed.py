"""Prices over as many connections as they need, against a server that counts what it is asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import ServerConnection, serve

from infra.binance.errors import StreamLost
from infra.binance.market_feed import MarketFeed
from infra.binance.market_stream import SYMBOLS_PER_REQUEST, decode_book_ticker, open_market_stream
from infra.binance.venue import Venue
from tests.support.user_stream_server import until


class MarketServer:
    """Notes the streams of each connection, and sends what a test says."""

    def __init__(self) -> None:
        self.url = ""
        self.connections: list[ServerConnection] = []
        self.streams: list[list[str]] = []
        self.methods: list[str] = []
        self.is_deaf = False

    async def handle(self, connection: ServerConnection) -> None:
        path = connection.request.path if connection.request else ""
        streams = parse_qs(urlsplit(path).query)["streams"][0].split("/")
        self.connections.append(connection)
        self.streams.append(streams)
        async for frame in connection:
            request = json.loads(frame)
            self.methods.append(request["method"])
            if request["method"] == "SUBSCRIBE":
                assert len(request["params"]) <= SYMBOLS_PER_REQUEST
                streams.extend(request["params"])
            if not self.is_deaf:
                await connection.send(json.dumps({"result": None, "id": request["id"]}))

    async def tell(self, symbol: str, bid: str, ask: str) -> None:
        data: dict[str, Any] = {"u": 1, "s": symbol, "b": bid, "B": "1", "a": ask, "A": "1"}
        stream = f"{symbol.lower()}@bookTicker"
        for connection, streams in zip(self.connections, self.streams, strict=True):
            if stream in streams and connection.close_code is None:
                await connection.send(json.dumps({"stream": stream, "data": data}))


class Heard:
    """What a feed told."""

    def __init__(self) -> None:
        self.prices: dict[str, Decimal] = {}
        self.lost: list[Collection[str]] = []

    def price(self, symbol: str, price: Decimal) -> None:
        self.prices[symbol] = price


@asynccontextmanager
async def market_server() -> AsyncIterator[MarketServer]:
    server = MarketServer()
    async with serve(server.handle, "127.0.0.1", 0) as running:
        server.url = f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}"
        yield server


@asynccontextmanager
async def feeding(server: MarketServer, wanted: set[str], size: int) -> AsyncIterator[Heard]:
    heard = Heard()
    feed = MarketFeed(server.url, Venue(), streams_per_connection=size, on_price=heard.price, on_lost=heard.lost.append)
    task = asyncio.create_task(feed.run(lambda: wanted, look_every_s=0.01))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def symbols(first: int, last: int) -> set[str]:
    return {f"S{number:04}USDT" for number in range(first, last)}


def streams_of(names: set[str]) -> list[str]:
    return sorted(f"{name.lower()}@bookTicker" for name in names)


async def test_symbols_are_spread_and_a_new_one_drops_no_other() -> None:
    wanted = symbols(0, 25)
    async with market_server() as server, feeding(server, wanted, size=10) as heard:
        await until(lambda: len(server.connections) == 3)
        assert sorted(map(len, server.streams)) == [5, 10, 10]
        wanted |= symbols(25, 32)
        # Five find room on a connection that is up, two need another one.
        await until(lambda: len(server.connections) == 4 and sum(map(len, server.streams)) == 32)
        assert sorted(map(len, server.streams)) == [2, 10, 10, 10]
        assert sorted(stream for streams in server.streams for stream in streams) == streams_of(wanted)
        for symbol in wanted:
            await server.tell(symbol, "1", "3")
        await until(lambda: heard.prices == dict.fromkeys(wanted, Decimal(2)))
        assert not heard.lost
        assert all(connection.close_code is None for connection in server.connections)


async def test_more_symbols_than_an_address_holds_are_added_in_pieces() -> None:
    wanted = symbols(0, 2 * SYMBOLS_PER_REQUEST + 1)
    async with market_server() as server, feeding(server, wanted, size=1_024):
        await until(lambda: bool(server.streams) and sorted(server.streams[0]) == streams_of(wanted))
        assert len(server.connections) == 1
        assert server.methods == ["SUBSCRIBE", "SUBSCRIBE"]


async def test_a_connection_that_ends_comes_back_with_its_symbols_and_takes_no_other_along() -> None:
    wanted = symbols(0, 4)
    async with market_server() as server, feeding(server, wanted, size=2) as heard:
        await until(lambda: len(server.connections) == 2)
        before = server.streams[0]
        server.connections[0].transport.abort()
        await until(lambda: len(server.connections) == 3)
        assert server.streams[2] == before
        assert [sorted(f"{each.lower()}@bookTicker" for each in lost) for lost in heard.lost] == [sorted(before)]
        assert server.connections[1].close_code is None


async def test_a_stream_that_announces_its_end_is_replaced() -> None:
    async with market_server() as server, feeding(server, symbols(0, 1), size=1) as heard:
        await until(lambda: len(server.connections) == 1)
        shutdown = {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}}
        await server.connections[0].send(json.dumps(shutdown))
        await until(lambda: len(server.connections) == 2)
        await server.tell("S0000USDT", "1", "1")
        await until(lambda: heard.prices == {"S0000USDT": Decimal(1)})


async def test_a_market_that_stands_still_is_asked_and_a_dead_connection_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        market_server() as server,
        open_market_stream(server.url, ["BTCUSDT"], Venue(), silence_s=0.05) as stream,
    ):
        prices = stream.mid_prices()
        waiting = asyncio.ensure_future(anext(prices))
        await until(lambda: server.methods.count("LIST_SUBSCRIPTIONS") >= 3)
        await server.tell("BTCUSDT", "60000.00", "60000.01")
        symbol, price = await asyncio.wait_for(waiting, 30)
        assert (symbol, str(price)) == ("BTCUSDT", "60000.005")
        server.is_deaf = True
        monkeypatch.setattr("infra.binance.market_stream._ANSWER_S", 0.2)
        with pytest.raises(StreamLost, match="also when asked"):
            await asyncio.wait_for(anext(prices), 30)


@pytest.mark.parametrize("side", ["0.00", "NaN", "1e99", "x"])
def test_a_one_sided_or_damaged_book_is_no_price(side: str) -> None:
    frame = json.dumps({"data": {"s": "BTCUSDT", "b": side, "a": "5"}})
    assert decode_book_ticker(frame) is None
