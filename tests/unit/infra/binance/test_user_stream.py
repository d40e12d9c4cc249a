"""The user data stream against a server of its own, over a real connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from infra.binance.errors import KeyRefused, StreamLost
from infra.binance.market_stream import decode_book_ticker, open_market_stream
from infra.binance.user_stream import open_user_stream

Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0) as running:
        port = running.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws-api/v3"


def sign(params: dict[str, Any]) -> dict[str, Any]:
    return params | {"apiKey": "key", "signature": "signed"}


def event(number: int) -> str:
    return json.dumps({"subscriptionId": 0, "event": {"e": "test", "E": number}})


def reply(request: str | bytes, **fields: object) -> str:
    return json.dumps({"id": json.loads(request)["id"], "status": 200, "result": {"subscriptionId": 0}} | fields)


async def take(url: str, count: int, silence_s: float = 5.0) -> list[str | bytes]:
    async with open_user_stream(url, sign, silence_s=silence_s, probe_timeout_s=0.2) as stream:
        taken: list[str | bytes] = []
        async for frame in stream.frames():
            taken.append(frame)
            if len(taken) == count:
                break
        return taken


async def test_events_around_the_reply_are_not_lost() -> None:
    seen: list[Any] = []

    async def handler(connection: ServerConnection) -> None:
        request = await connection.recv()
        seen.append((json.loads(request), connection.request.path if connection.request else ""))
        await connection.send(event(1))
        await connection.send(reply(request))
        for number in (2, 3):
            await connection.send(event(number))
        await connection.send("no JSON")
        await connection.wait_closed()

    async with server(handler) as url:
        assert await take(url, 4) == [event(1), event(2), event(3), "no JSON"]
    request, path = seen[0]
    assert request["method"] == "userDataStream.subscribe.signature"
    assert request["params"] == {"apiKey": "key", "signature": "signed"}
    assert path.endswith("?timeUnit=MICROSECOND")


async def test_a_silent_server_is_asked_and_one_that_answers_is_kept() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(reply(await connection.recv()))
        probe = await connection.recv()
        assert json.loads(probe)["method"] == "ping"
        await connection.send(reply(probe, result={}))
        await connection.send(event(1))
        await connection.wait_closed()

    async with server(handler) as url:
        assert await take(url, 1, silence_s=0.1) == [event(1)]


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(reply(await connection.recv()))
        await connection.wait_closed()

    async with server(handler) as url:
        with pytest.raises(StreamLost, match="silent"):
            await take(url, 1, silence_s=0.1)


async def test_an_ended_connection_is_lost_after_its_last_event() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(reply(await connection.recv()))
        await connection.send(event(1))

    taken = []
    async with server(handler) as url:
        with pytest.raises(StreamLost):  # noqa: PT012 - the event comes first
            async with open_user_stream(url, sign) as stream:
                async for frame in stream.frames():
                    taken.append(frame)  # noqa: PERF401 - the loop ends in an error
    assert taken == [event(1)]


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, KeyRefused),
        (400, {"code": -1022, "msg": "Signature for this request is not valid."}, KeyRefused),
        (503, {"code": -1000, "msg": "Unavailable"}, StreamLost),
    ],
)
async def test_a_refused_subscription_says_whether_to_come_back(
    status: int, error: dict[str, Any], expected: type[Exception]
) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(reply(await connection.recv(), status=status, error=error))
        await connection.wait_closed()

    async with server(handler) as url:
        with pytest.raises(expected, match=error["msg"].rstrip(".")):
            await take(url, 1)


async def test_nobody_there_is_a_lost_stream() -> None:
    with pytest.raises(StreamLost, match="no connection"):
        await take("ws://127.0.0.1:9", 1)


async def test_mid_prices_come_from_the_combined_stream() -> None:
    paths: list[str] = []

    async def handler(connection: ServerConnection) -> None:
        paths.append(connection.request.path if connection.request else "")
        await connection.send(json.dumps({"result": None, "id": 1}))
        ticker = {"u": 1, "s": "BTCUSDT", "b": "60000.00", "B": "1", "a": "60000.01", "A": "1"}
        await connection.send(json.dumps({"stream": "btcusdt@bookTicker", "data": ticker}))
        await connection.wait_closed()

    async with server(handler) as url, open_market_stream(url, ["BTCUSDT", "ETHUSDT"], silence_s=0.2) as stream:
        prices = stream.mid_prices()
        symbol, price = await anext(prices)
        assert (symbol, str(price)) == ("BTCUSDT", "60000.005")
        with pytest.raises(StreamLost, match="no price"):
            await asyncio.wait_for(anext(prices), 2)
    assert paths[0].endswith("/stream?streams=btcusdt@bookTicker/ethusdt@bookTicker")


@pytest.mark.parametrize("side", ["0.00", "NaN", "1e99", "x"])
def test_a_one_sided_or_damaged_book_is_no_price(side: str) -> None:
    frame = json.dumps({"data": {"s": "BTCUSDT", "b": side, "a": "5"}})
    assert decode_book_ticker(frame) is None
