"""What the exchange does wrong on request, as its clients meet it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import ClientError
from binance import AsyncClient
from binance.exceptions import BinanceAPIException, BinanceRequestException
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from infra.exchange.app import ExchangeOptions, running_exchange
from infra.exchange.fault_plans import FaultPlan, PlannedFault
from infra.exchange.faults import FaultKind
from infra.exchange.security import AccountKey
from tests.support.exchange_client import ask, local_client, next_event, now_ms, signed, user_stream

_TROUBLE = (BinanceAPIException, BinanceRequestException, ClientError, TimeoutError)
_KEYS = (AccountKey("demo", "demo-key", "demo-secret"), AccountKey("other", "other-key", "other-secret"))


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running_exchange(ExchangeOptions(accounts=_KEYS)) as address:
        yield address


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncClient]:
    async with local_client(url) as connected:
        yield connected


@pytest.fixture
async def operator(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url) as connected:
        yield connected


async def _fault(operator: httpx.AsyncClient, **fault: object) -> None:
    answer = await operator.post("/operator/faults", json=fault)
    assert answer.status_code == 200, answer.text


async def _counts(operator: httpx.AsyncClient) -> dict[str, int]:
    counts: dict[str, int] = (await operator.get("/operator/faults")).json()["counts"]
    return counts


async def _deposits(operator: httpx.AsyncClient, *amounts: str, account: str = "demo") -> None:
    """Each one is two events: balanceUpdate (with its amount), outboundAccountPosition."""
    for amount in amounts:
        await operator.post("/operator/deposit", json={"account": account, "asset": "BTC", "amount": amount})


async def _texts(socket: ClientConnection, count: int) -> list[str]:
    return [str(await asyncio.wait_for(socket.recv(), 30)) for _ in range(count)]


async def _silence(socket: ClientConnection, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(socket.recv(), seconds)


async def _read_on(socket: ClientConnection) -> None:
    while True:
        await asyncio.wait_for(socket.recv(), 30)


def _what(text: str) -> str:
    event = json.loads(text)["event"]
    return str(event.get("d") or event["e"])


_TWO_DEPOSITS = ["1.00000000", "outboundAccountPosition", "2.00000000", "outboundAccountPosition"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("drop", _TWO_DEPOSITS[2:]),
        ("duplicate", [_TWO_DEPOSITS[0], *_TWO_DEPOSITS[:2], *_TWO_DEPOSITS[1:]]),
        ("reorder", [_TWO_DEPOSITS[1], _TWO_DEPOSITS[0], *_TWO_DEPOSITS[2:]]),
        ("delay", _TWO_DEPOSITS),
    ],
)
async def test_events_are_dropped_sent_twice_out_of_order_or_late(
    url: str, operator: httpx.AsyncClient, kind: str, expected: list[str]
) -> None:
    async with user_stream(url) as socket, user_stream(url, "other-key", "other-secret") as other:
        await _fault(operator, kind=kind, count=2, seconds=0.3, account="demo")
        sent_ms = now_ms()
        await _deposits(operator, "1", "2")
        assert [_what(text) for text in await _texts(socket, len(expected))] == expected
        assert kind != "delay" or now_ms() - sent_ms >= 300
        assert await _counts(operator) == {kind: 2}
        await _deposits(operator, "3", account="other")
        assert [_what(text) for text in await _texts(other, 2)] == ["3.00000000", "outboundAccountPosition"]
        assert (await operator.get("/operator/faults")).json()["armed"] == []


async def test_a_message_that_nothing_overtakes_goes_out_alone(url: str, operator: httpx.AsyncClient) -> None:
    async with user_stream(url) as socket:
        await _fault(operator, kind="reorder", after=1)
        await _deposits(operator, "1")
        assert [_what(text) for text in await _texts(socket, 2)] == _TWO_DEPOSITS[:2]


@pytest.mark.parametrize("kind", ["truncate", "malform"])
async def test_frames_are_truncated_and_malformed(url: str, operator: httpx.AsyncClient, kind: str) -> None:
    async with user_stream(url) as socket:
        await _fault(operator, kind=kind, count=2, after=1)
        await _deposits(operator, "1", "2")
        texts = await _texts(socket, 4)
        for broken in texts[1:3]:
            with pytest.raises(json.JSONDecodeError):
                json.loads(broken)
        assert [_what(texts[0]), _what(texts[3])] == [_TWO_DEPOSITS[0], _TWO_DEPOSITS[3]]


async def test_connections_are_cut_by_account(url: str, operator: httpx.AsyncClient) -> None:
    async with user_stream(url) as socket, user_stream(url, "other-key", "other-secret") as other:
        await _fault(operator, kind="disconnect", account="demo")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 30)
        assert (await ask(other, "ping"))["status"] == 200
        assert await _counts(operator) == {"disconnect": 1}


async def test_a_half_open_connection_stays_without_events_answers_or_pongs(
    url: str, operator: httpx.AsyncClient
) -> None:
    async with user_stream(url) as socket:
        await _fault(operator, kind="silence", seconds=1)
        await _deposits(operator, "1")
        await socket.send(json.dumps({"id": 1, "method": "ping"}))
        pong = asyncio.ensure_future(await socket.ping())
        await _silence(socket, 0.5)
        assert not pong.done()
        await asyncio.sleep(0.7)
        await _deposits(operator, "2")
        assert [_what(text) for text in await _texts(socket, 2)] == _TWO_DEPOSITS[2:]


async def test_server_shutdown_is_announced_and_happens(url: str, operator: httpx.AsyncClient) -> None:
    async with user_stream(url) as socket, connect(f"{url.replace('http', 'ws')}/stream") as market:
        await _fault(operator, kind="server-shutdown", seconds=0.2)
        await _fault(operator, kind="server-shutdown", target="market", seconds=0.2)
        message = json.loads(await asyncio.wait_for(socket.recv(), 30))
        assert set(message) == {"event"}
        assert (message["event"]["e"], abs(message["event"]["E"] - now_ms()) < 5000) == ("serverShutdown", True)
        assert json.loads(await asyncio.wait_for(market.recv(), 30))["stream"] == "!serverShutdown"
        for each in (socket, market):
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(each.recv(), 30)


async def test_a_terminated_stream_ends_and_can_be_subscribed_again(url: str, operator: httpx.AsyncClient) -> None:
    async with user_stream(url) as socket:
        await _fault(operator, kind="stream-terminated")
        assert (await next_event(socket))["e"] == "eventStreamTerminated"
        await _deposits(operator, "1")
        again = await ask(socket, "userDataStream.subscribe.signature", **signed(apiKey="demo-key"))
        assert again["result"] == {"subscriptionId": 1}


async def test_market_streams_are_disturbed_too(url: str, operator: httpx.AsyncClient) -> None:
    async with connect(f"{url.replace('http', 'ws')}/ws/bnbusdt@trade") as socket:
        await _fault(operator, kind="duplicate", target="market")
        first, second = await _texts(socket, 2)
        assert first == second
        await _fault(operator, kind="disconnect", target="market")
        with pytest.raises(ConnectionClosed):
            await _read_on(socket)


# -- requests


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"kind": "too-many-requests", "seconds": 3}, 429, -1003),
        ({"kind": "banned", "seconds": 3}, 418, -1003),
        ({"kind": "forbidden"}, 403, 0),
        ({"kind": "server-error"}, 500, -1000),
        ({"kind": "server-error", "status": 502}, 502, 0),
        ({"kind": "timeout"}, 408, -1007),
        ({"kind": "outside-window"}, 400, -1021),
    ],
)
async def test_requests_fail(
    client: AsyncClient, operator: httpx.AsyncClient, fault: dict[str, Any], status: int, code: int
) -> None:
    await _fault(operator, path="/api/v3/account", **fault)
    assert await client.ping() == {}
    with pytest.raises(BinanceAPIException) as refused:
        await client.get_account()
    assert (refused.value.status_code, refused.value.code) == (status, code)
    assert refused.value.response.headers.get("Retry-After") == (str(fault["seconds"]) if "seconds" in fault else None)
    assert await _counts(operator) == {fault["kind"]: 1}
    await operator.delete("/operator/faults")
    assert await client.get_account()


async def test_429_lasts_for_its_time_on_both_interfaces(url: str, operator: httpx.AsyncClient) -> None:
    async with user_stream(url) as socket:
        await _fault(operator, kind="too-many-requests", seconds=1)
        refused = await ask(socket, "ping")
        assert refused["status"] == 429
        data = refused["error"]["data"]
        assert 0 < data["retryAfter"] - data["serverTime"] <= 1000
        assert (await operator.get("/api/v3/ping")).status_code == 429
        await asyncio.sleep(1.1)
        assert (await operator.get("/api/v3/ping")).status_code == 200
        assert (await ask(socket, "ping"))["status"] == 200


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize("kind", ["timeout", "server-error", "hang"])
async def test_the_outcome_of_a_failed_request_is_unknown(
    client: AsyncClient, operator: httpx.AsyncClient, kind: str, executed: bool
) -> None:
    await _fault(operator, kind=kind, executed=executed, seconds=0.2, path="/api/v3/order")
    with pytest.raises(Exception, match=r"1007|1000|disconnected|reset"):
        await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
    assert len(await client.get_my_trades(symbol="BTCUSDT")) == executed


async def test_websocket_requests_fail_and_hang(url: str, operator: httpx.AsyncClient) -> None:
    async with user_stream(url) as socket:
        await _fault(operator, kind="timeout", target="websocket-api")
        assert (await ask(socket, "time"))["error"]["code"] == -1007
        await _fault(operator, kind="hang", target="websocket-api", path="time")
        await socket.send(json.dumps({"id": 1, "method": "time"}))
        await _silence(socket, 0.3)
        assert (await ask(socket, "time"))["status"] == 200


@pytest.mark.parametrize("seconds", [-10, 10])
async def test_the_clock_jumps(client: AsyncClient, operator: httpx.AsyncClient, seconds: int) -> None:
    await _fault(operator, kind="clock-jump", seconds=seconds)
    with pytest.raises(BinanceAPIException) as refused:
        await client.get_account()
    assert refused.value.code == -1021
    client.timestamp_offset = (await client.get_server_time())["serverTime"] - now_ms()
    assert abs(client.timestamp_offset - 1000 * seconds) < 1000
    assert await client.get_account()
    await operator.delete("/operator/faults")
    assert abs((await client.get_server_time())["serverTime"] - now_ms()) < 1000


async def test_a_wipe_starts_every_account_afresh_also_after_a_restart(tmp_path: Path) -> None:
    options = ExchangeOptions(state=tmp_path)
    bought: dict[str, Any] = {}
    for round_ in range(2):
        async with running_exchange(options) as url, local_client(url) as client, httpx.AsyncClient() as http:
            if round_ == 0:
                async with user_stream(url) as socket:
                    bought = await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1")
                    await http.post(f"{url}/operator/faults", json={"kind": "wipe"})
                    with pytest.raises(ConnectionClosed):
                        await _read_on(socket)
            free = {each["asset"]: Decimal(each["free"]) for each in (await client.get_account())["balances"]}
            assert free == {"USDT": 25_000, "BTC": Decimal("0.05"), "BNB": 1, "ETH": 0}
            assert await client.get_my_trades(symbol="BTCUSDT") == []
            assert await client.get_all_orders(symbol="BTCUSDT") == []
            if round_ == 1:
                again = await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1")
                assert again["orderId"] > bought["orderId"]
                assert again["fills"][0]["tradeId"] > bought["fills"][0]["tradeId"]


# -- plans


async def test_a_plan_is_followed_from_the_start(url: str) -> None:
    plan = FaultPlan(faults=(PlannedFault(kind=FaultKind.SERVER_ERROR, status=503, at_s=0.2),))
    async with running_exchange(ExchangeOptions(faults=plan)) as planned, httpx.AsyncClient(base_url=planned) as http:
        async with asyncio.timeout(20):
            while (await http.get("/api/v3/ping")).status_code != 503:
                pass
        answer = await http.post("/operator/faults/plan", json={"seed": 3, "count": 17, "seconds": 0.2})
        assert answer.json() == {"planned": 17}
        async with asyncio.timeout(20):
            while len((view := (await http.get("/operator/faults")).json())["armed"]) <= 5:
                pass
        assert [each["number"] for each in view["injected"]] == list(range(1, len(view["injected"]) + 1))
        assert all(abs(each["time_us"] // 1000 - now_ms()) < 5000 for each in view["injected"])


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("", {"kind": "earthquake"}, "Invalid enum value 'earthquake'"),
        ("", {"kind": "drop", "target": "rest"}, "drop strikes user or market, not rest"),
        ("", {"kind": "stream-terminated", "target": "market"}, "strikes user, not market"),
        ("", {"kind": "clock-jump"}, "needs seconds"),
        ("", {"kind": "delay", "seconds": -1}, "cannot be negative"),
        ("", {"kind": "drop", "count": 0}, "at least 1"),
        ("", {"kind": "server-error", "status": 200}, "500 to 599"),
        ("/plan", {"faults": [{"kind": "hang"}]}, "missing required field `at_s`"),
    ],
)
async def test_faults_that_make_no_sense_are_refused(
    operator: httpx.AsyncClient, path: str, body: dict[str, object], error: str
) -> None:
    answer = await operator.post(f"/operator/faults{path}", json=body)
    assert answer.status_code == 400
    assert error in answer.json()["error"]


async def test_a_storm_harms_clients_but_not_the_books(
    url: str, operator: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients trade and listen through 120 faults of every kind: the exchange stays exact, and logs no error."""

    async def listen() -> None:
        while True:
            with suppress(ConnectionClosed, TimeoutError, AssertionError, ValueError, KeyError, OSError):
                async with user_stream(url) as socket:
                    # A stream that fell silent for ever is left, as a client does that watches for pongs.
                    async with asyncio.timeout(0.5):
                        await _read_on(socket)
            await asyncio.sleep(0.05)

    async def trade() -> None:
        async with local_client(url) as client:
            while True:
                with suppress(*_TROUBLE):
                    order = client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
                    await asyncio.wait_for(order, 0.3)
                await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(each()) for each in (listen, listen, trade, trade)]
    await operator.post("/operator/faults/plan", json={"seed": 11, "count": 120, "seconds": 4})
    await asyncio.sleep(4.5)
    await operator.delete("/operator/faults")
    for task in tasks:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    struck = await _counts(operator)
    assert len(struck) >= 12, struck
    assert [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []

    books = (await operator.get("/operator/books")).json()["accounts"]["demo"]
    assert len(books["trades"]) > 10
    bought = sum(Decimal(trade["qty"]) for trade in books["trades"])
    assert Decimal(books["balances"]["BTC"]["free"]) == Decimal("0.05") + bought
    async with local_client(url) as client:
        listed = await client.get_my_trades(symbol="BTCUSDT", limit=1000)
    assert [trade["id"] for trade in listed] == [trade["id"] for trade in books["trades"]]
