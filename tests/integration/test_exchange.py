"""The simulated exchange over real sockets: python-binance's own client, plain WebSockets, a killed process."""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from binance import AsyncClient
from binance.exceptions import BinanceAPIException
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from infra.exchange.app import ExchangeOptions, running_exchange
from infra.exchange.demo import DemoOptions, NotSimulatedError, ensure_simulated, run_demo
from infra.exchange.security import AccountKey

_KEYS = (AccountKey("demo", "demo-key", "demo-secret"), AccountKey("other", "other-key", "other-secret"))


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running_exchange(ExchangeOptions(accounts=_KEYS)) as address:
        yield address


@asynccontextmanager
async def _client(url: str, key: str = "demo-key", secret: str = "demo-secret") -> AsyncIterator[AsyncClient]:
    class LocalClient(AsyncClient):  # type: ignore[misc] # python-binance has no types
        API_URL = f"{url}/api"

    client = await LocalClient.create(key, secret)
    try:
        yield client
    finally:
        await client.close_connection()


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncClient]:
    async with _client(url) as connected:
        yield connected


@pytest.fixture
async def operator(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url) as connected:
        yield connected


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _signed(secret: str, **parameters: object) -> dict[str, object]:
    parameters.setdefault("timestamp", _now_ms())
    payload = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
    return parameters | {"signature": hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()}


async def _ask(socket: ClientConnection, method: str, **params: object) -> dict[str, Any]:
    await socket.send(json.dumps({"id": method, "method": method, "params": params}))
    while True:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 30))
        if "id" in message:
            return message


async def _event(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 30))
    assert message["subscriptionId"] == 0
    event: dict[str, Any] = message["event"]
    return event


@asynccontextmanager
async def _user_stream(url: str, query: str = "") -> AsyncIterator[ClientConnection]:
    async with connect(f"{url.replace('http', 'ws')}/ws-api/v3{query}") as socket:
        reply = await _ask(socket, "userDataStream.subscribe.signature", **_signed("demo-secret", apiKey="demo-key"))
        assert (reply["status"], reply["result"]) == (200, {"subscriptionId": 0})
        assert reply["rateLimits"][0]["rateLimitType"] == "REQUEST_WEIGHT"
        yield socket


# -- REST, through python-binance


async def test_an_account_trades_through_python_binance(client: AsyncClient) -> None:
    order = await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="20000")
    trades = await client.get_my_trades(symbol="BTCUSDT")
    account = await client.get_account(omitZeroBalances=True)
    assert order["status"] == "FILLED"
    assert [(fill["tradeId"], fill["qty"], fill["commission"]) for fill in order["fills"]] == [
        (trade["id"], trade["qty"], trade["commission"]) for trade in trades
    ]
    free = {each["asset"]: Decimal(each["free"]) for each in account["balances"]}
    assert free["USDT"] == 25_000 - sum(Decimal(trade["quoteQty"]) for trade in trades)
    assert free["BTC"] == Decimal("0.05") + sum(Decimal(trade["qty"]) for trade in trades)
    assert free["BNB"] == 1 - sum(Decimal(trade["commission"]) for trade in trades)
    assert account["updateTime"] == order["transactTime"]


async def test_orders_rest_are_found_and_cancelled(client: AsyncClient) -> None:
    placed = await client.create_order(
        symbol="ETHBTC", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.5", price="0.04", newClientOrderId="x"
    )
    assert [each["orderId"] for each in await client.get_open_orders()] == [placed["orderId"]]
    found = await client.get_order(symbol="ETHBTC", origClientOrderId="x")
    assert (found["status"], found["price"], found["origQty"]) == ("NEW", "0.04000000", "0.50000000")
    cancelled = await client.cancel_order(symbol="ETHBTC", orderId=placed["orderId"])
    assert (cancelled["status"], cancelled["origClientOrderId"]) == ("CANCELED", "x")
    assert await client.get_open_orders(symbol="ETHBTC") == []
    assert [each["status"] for each in await client.get_all_orders(symbol="ETHBTC")] == ["CANCELED"]


async def test_my_trades_are_paged(client: AsyncClient) -> None:
    for _ in range(7):
        await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
    everything = await client.get_my_trades(symbol="BTCUSDT")
    ids = [trade["id"] for trade in everything]
    paged: list[int] = []
    while page := await client.get_my_trades(symbol="BTCUSDT", fromId=paged[-1] + 1 if paged else 0, limit=2):
        paged += [trade["id"] for trade in page]
    assert paged == ids
    assert len(ids) >= 7
    inclusive = await client.get_my_trades(symbol="BTCUSDT", fromId=ids[3])
    assert [trade["id"] for trade in inclusive] == ids[3:]
    newest = await client.get_my_trades(symbol="BTCUSDT", limit=3)
    assert [trade["id"] for trade in newest] == ids[-3:]
    start, end = everything[0]["time"], everything[-1]["time"]
    assert [each["id"] for each in await client.get_my_trades(symbol="BTCUSDT", startTime=start, endTime=end)] == ids
    assert [each["id"] for each in await client.get_my_trades(symbol="BTCUSDT", startTime=start, limit=2)] == ids[:2]
    assert await client.get_my_trades(symbol="BTCUSDT", endTime=start - 1) == []
    of_order = await client.get_my_trades(symbol="BTCUSDT", orderId=everything[2]["orderId"])
    assert everything[2] in of_order


async def test_market_data(client: AsyncClient) -> None:
    info = await client.get_exchange_info()
    assert {each["symbol"] for each in info["symbols"]} == {"BTCUSDT", "ETHUSDT", "BNBUSDT", "ETHBTC"}
    assert (await client.get_symbol_ticker(symbol="BNBUSDT"))["price"] == "512.30000000"
    assert len(await client.get_orderbook_tickers()) == 4
    day = await client.get_ticker(symbol="ETHUSDT")
    assert Decimal(day["lowPrice"]) <= Decimal(day["lastPrice"]) <= Decimal(day["highPrice"])
    past = await client.get_klines(symbol="BTCUSDT", interval="1h", startTime=1_500_000_000_000, limit=3)
    assert [bar[0] for bar in past] == [1_500_001_200_000, 1_500_004_800_000, 1_500_008_400_000]
    assert past[0][6] == past[1][0] - 1
    assert past == await client.get_klines(symbol="BTCUSDT", interval="1h", startTime=1_500_000_000_000, limit=3)
    latest = await client.get_klines(symbol="BTCUSDT", interval="1m", limit=2)
    assert latest[1][0] <= _now_ms() <= latest[1][6]
    assert latest[0][4] != "0.00000000"


async def test_times_are_in_microseconds_when_asked(url: str, operator: httpx.AsyncClient) -> None:
    answers = [
        (await operator.get("/api/v3/time", headers={"X-MBX-TIME-UNIT": unit})).json()["serverTime"]
        for unit in ("MICROSECOND", "millisecond")
    ]
    assert abs(answers[0] // 1000 - answers[1]) < 5000
    async with _user_stream(url, "?timeUnit=MICROSECOND") as socket:
        movement = {"account": "demo", "asset": "USDT", "amount": "1"}
        flow = (await operator.post("/operator/deposit", json=movement)).json()
        assert (await _event(socket))["E"] == flow["time_us"]


# -- refusals


def _order(**changes: str) -> dict[str, str]:
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"} | changes
    return {name: value for name, value in order.items() if value}


@pytest.mark.parametrize(
    ("call", "code", "status", "message"),
    [
        (lambda c: c.create_order(**_order(symbol="XRPUSDT")), -1121, 400, "Invalid symbol."),
        (lambda c: c.create_order(**_order(symbol="btcusdt")), -1100, 400, "parameter 'symbol'"),
        (lambda c: c.create_order(**_order(symbol="")), -1102, 400, "'symbol' was not sent"),
        (lambda c: c.create_order(**_order(side="HOLD")), -1117, 400, "Invalid side."),
        (lambda c: c.create_order(**_order(type="ICEBERG")), -1116, 400, "Invalid orderType."),
        (lambda c: c.create_order(**_order(quantity="")), -1102, 400, "'quantity' or 'quoteOrderQty'"),
        (lambda c: c.create_order(**_order(quantity="1e-3")), -1100, 400, "parameter 'quantity'"),
        (lambda c: c.create_order(**_order(quantity="0.0000000001")), -1111, 400, "too much precision"),
        (lambda c: c.create_order(**_order(quantity="0.000001")), -1013, 400, "LOT_SIZE"),
        (lambda c: c.create_order(**_order(quantity="0.00001")), -1013, 400, "NOTIONAL"),
        (lambda c: c.create_order(**_order(quantity="9")), -2010, 400, "insufficient balance"),
        (lambda c: c.create_order(**_order(price="1")), -1106, 400, "'price' sent when not required"),
        (lambda c: c.create_order(**_order(type="LIMIT", price="60000")), -1102, 400, "'timeInForce'"),
        (lambda c: c.create_order(**_order(type="LIMIT", timeInForce="DAY", price="60000")), -1115, 400, "timeInForce"),
        (lambda c: c.create_order(**_order(type="LIMIT_MAKER", price="60000.001")), -1013, 400, "PRICE_FILTER"),
        (lambda c: c.create_order(**_order(type="LIMIT_MAKER", price="70000")), -2010, 400, "immediately match"),
        (lambda c: c.create_order(**_order(type="STOP_LOSS")), -1102, 400, "'stopPrice'"),
        (lambda c: c.create_order(**_order(type="STOP_LOSS", stopPrice="20000")), -2010, 400, "trigger immediately"),
        (lambda c: c.create_order(**_order(stopPrice="20000")), -1106, 400, "'stopPrice' sent when not required"),
        (lambda c: c.create_order(**_order(selfTradePreventionMode="ALL")), -1130, 400, "selfTradePreventionMode"),
        (lambda c: c.get_order(symbol="BTCUSDT", orderId=99), -2013, 400, "Order does not exist."),
        (lambda c: c.get_order(symbol="BTCUSDT"), -1102, 400, "'origClientOrderId' or 'orderId'"),
        (lambda c: c.cancel_order(symbol="BTCUSDT", orderId=99), -2011, 400, "Unknown order sent."),
        (lambda c: c.get_my_trades(symbol="BTCUSDT", fromId=1, startTime=1), -1128, 400, "Combination"),
        (lambda c: c.get_my_trades(symbol="BTCUSDT", startTime=1, endTime=86_400_003), -1127, 400, "24 hours"),
        (lambda c: c.get_klines(symbol="BTCUSDT", interval="7m"), -1120, 400, "Invalid interval."),
        (lambda c: c.stream_get_listen_key(), -1125, 410, "userDataStream.subscribe.signature"),
    ],
)
async def test_refusals(
    client: AsyncClient, call: Callable[[AsyncClient], Awaitable[object]], code: int, status: int, message: str
) -> None:
    with pytest.raises(BinanceAPIException) as refused:
        await call(client)
    assert (refused.value.code, refused.value.status_code) == (code, status)
    assert message in refused.value.message


async def test_keys_signatures_and_times_are_checked(url: str, client: AsyncClient) -> None:
    for key, secret, code, status in (
        ("demo-key", "wrong", -1022, 400),
        ("nobody", "demo-secret", -2015, 401),
        ("", "demo-secret", -2014, 401),
    ):
        async with _client(url, key, secret) as stranger:
            with pytest.raises(BinanceAPIException) as refused:
                await stranger.get_account()
        assert (refused.value.code, refused.value.status_code) == (code, status)
    for offset_ms, text in ((-11_000, "outside of the recvWindow"), (6000, "ahead of the server's time")):
        client.timestamp_offset = offset_ms
        with pytest.raises(BinanceAPIException, match=text) as refused:
            await client.get_account()
        assert refused.value.code == -1021


async def test_weights_are_counted_and_too_many_are_refused(operator: httpx.AsyncClient) -> None:
    # The count starts again with each minute of the clock: stay within one.
    await asyncio.sleep(max(0.0, time.time() % 60 - 50) and 60 - time.time() % 60)
    first = await operator.get("/api/v3/exchangeInfo")
    second = await operator.get("/api/v3/ticker/24hr")
    used = int(second.headers["X-MBX-USED-WEIGHT-1M"])
    assert used - int(first.headers["X-MBX-USED-WEIGHT-1M"]) == 80
    last = second
    for _ in range((6000 - used) // 80 + 1):
        last = await operator.get("/api/v3/ticker/24hr")
    assert (last.status_code, last.json()["code"]) == (429, -1003)
    assert 0 < int(last.headers["Retry-After"]) <= 60


# -- user data


async def test_user_events_in_observed_order(url: str, client: AsyncClient, operator: httpx.AsyncClient) -> None:
    async with _user_stream(url) as socket:
        order = await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="20000")
        events = [await _event(socket) for _ in range(len(order["fills"]) + 2)]
        kinds = [event.get("x", event["e"]) for event in events]
        assert kinds == ["NEW", *["TRADE"] * len(order["fills"]), "outboundAccountPosition"]
        assert events[-1]["E"] == events[-2]["E"]
        assert events[-1]["u"] == events[-2]["T"] == order["transactTime"]
        assert [event["t"] for event in events[1:-1]] == [fill["tradeId"] for fill in order["fills"]]

        movement = {"account": "demo", "asset": "BTC", "amount": "0.01"}
        await operator.post("/operator/withdraw", json=movement)
        update, position = await _event(socket), await _event(socket)
        assert (update["e"], update["a"], update["d"]) == ("balanceUpdate", "BTC", "-0.01000000")
        assert (position["e"], position["E"]) == ("outboundAccountPosition", update["E"])

        account = {each["asset"]: each["free"] for each in (await client.get_account())["balances"]}
        assert {each["a"]: each["f"] for each in position["B"]} == {"BTC": account["BTC"]}


async def test_accounts_are_apart(url: str) -> None:
    async with _user_stream(url) as socket, _client(url, "other-key", "other-secret") as other:
        await other.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
        reply = await _ask(socket, "userDataStream.subscribe.signature", **_signed("other-secret", apiKey="other-key"))
        assert reply["result"] == {"subscriptionId": 1}
        own = await _ask(socket, "account.status", **_signed("demo-secret", apiKey="demo-key", omitZeroBalances="true"))
        assert {each["asset"]: each["free"] for each in own["result"]["balances"]}["USDT"] == "25000.00000000"


async def test_websocket_api_replies(url: str) -> None:
    async with _user_stream(url) as socket:
        assert (await _ask(socket, "ping"))["result"] == {}
        assert abs((await _ask(socket, "time"))["result"]["serverTime"] - _now_ms()) < 5000
        again = await _ask(socket, "userDataStream.subscribe.signature", **_signed("demo-secret", apiKey="demo-key"))
        assert (again["status"], again["error"]["code"]) == (400, -2035)
        forged = await _ask(socket, "account.status", **_signed("wrong", apiKey="demo-key"))
        assert (forged["status"], forged["error"]["code"]) == (400, -1022)
        unknown = await _ask(socket, "account.status", **_signed("demo-secret", apiKey="nobody"))
        assert (unknown["status"], unknown["error"]["code"]) == (401, -2015)
        assert (await _ask(socket, "no.such.method"))["error"]["code"] == -1130
        await socket.send("not json")
        assert json.loads(await socket.recv())["error"]["code"] == -1135
        assert (await _ask(socket, "session.subscriptions"))["result"] == [{"subscriptionId": 0}]
        await socket.send(json.dumps({"id": 1, "method": "userDataStream.unsubscribe"}))
        assert (await _event(socket))["e"] == "eventStreamTerminated"
        assert json.loads(await socket.recv())["result"] == {}
        assert (await _ask(socket, "userDataStream.unsubscribe", subscriptionId=0))["error"]["code"] == -2036


async def test_the_operator_drops_user_data_connections(url: str, operator: httpx.AsyncClient) -> None:
    async with _user_stream(url) as socket:
        assert (await operator.post("/operator/disconnect")).json() == {"disconnected": 1}
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 30)


# -- market streams


async def test_market_streams_deliver(url: str, client: AsyncClient) -> None:
    address = url.replace("http", "ws")
    streams = "btcusdt@trade/btcusdt@bookTicker/bnbusdt@bookTicker/!miniTicker@arr"
    async with connect(f"{address}/stream?streams={streams}&timeUnit=MICROSECOND") as socket:
        seen: dict[str, Any] = {}
        while len(seen) < 4:
            message = json.loads(await asyncio.wait_for(socket.recv(), 10))
            seen[message["stream"]] = message["data"]
    assert abs(seen["btcusdt@trade"]["T"] // 1000 - _now_ms()) < 15_000
    assert Decimal(seen["btcusdt@bookTicker"]["b"]) < Decimal(seen["btcusdt@bookTicker"]["a"])
    assert (seen["bnbusdt@bookTicker"]["b"], seen["bnbusdt@bookTicker"]["a"]) == ("512.29000000", "512.31000000")
    assert "BTCUSDT" in {ticker["s"] for ticker in seen["!miniTicker@arr"]}

    async with connect(f"{address}/ws/ethbtc@trade") as socket:
        order = await client.create_order(symbol="ETHBTC", side="BUY", type="MARKET", quantity="0.01")
        trade = json.loads(await asyncio.wait_for(socket.recv(), 30))
        first = order["fills"][0]  # of several, where the best price had less than the order asks for
        while trade["t"] != first["tradeId"]:
            trade = json.loads(await asyncio.wait_for(socket.recv(), 30))
        assert (trade["s"], trade["q"], trade["p"], trade["m"]) == ("ETHBTC", first["qty"], first["price"], False)


async def test_streams_are_subscribed_live(url: str) -> None:
    async def ask(socket: ClientConnection, **command: object) -> dict[str, Any]:
        await socket.send(json.dumps(command))
        while "id" not in (message := json.loads(await asyncio.wait_for(socket.recv(), 30))):
            pass
        answer: dict[str, Any] = message
        return answer

    async with connect(f"{url.replace('http', 'ws')}/ws") as socket:
        assert await ask(socket, method="SUBSCRIBE", params=["ethusdt@bookTicker"], id=1) == {"result": None, "id": 1}
        assert (await ask(socket, method="LIST_SUBSCRIPTIONS", id=2))["result"] == ["ethusdt@bookTicker"]
        assert json.loads(await asyncio.wait_for(socket.recv(), 10))["s"] == "ETHUSDT"
        assert (await ask(socket, method="UNSUBSCRIBE", params=["ethusdt@bookTicker"], id=3))["result"] is None
        assert (await ask(socket, method="LIST_SUBSCRIPTIONS", id=4))["result"] == []
        assert (await ask(socket, method="NOPE", id=5))["error"]["code"] == 2
        assert (await ask(socket, method="SET_PROPERTY", params=["combined", True], id=6))["result"] is None
        assert (await ask(socket, method="GET_PROPERTY", params=["combined"], id=7))["result"] is True


# -- restarts, as a process


class _Process:
    """`portfolio exchange` as a process of its own."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.url = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import typer; from cli.exchange import exchange; typer.run(exchange)",
            *("--port", "0", "--state", str(self._state)),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        self.url = line.decode().split()[3]
        return self

    async def kill(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return await asyncio.wait_for(self._process.wait(), 15)

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            await self.kill(signal.SIGKILL)
        # The pipe's transport closes with the process only when the loop gets a turn.
        self._process._transport.close()  # type: ignore[attr-defined]


async def _books(url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url) as http:
        answer: dict[str, Any] = (await http.get("/operator/books")).json()["accounts"]["demo"]
    return answer


async def test_sigkill_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    answered: list[int] = []

    async def trade(url: str) -> None:
        async with _client(url) as client:
            while True:
                order = await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.0002")
                answered.append(order["orderId"])

    for _ in range(2):
        async with _Process(tmp_path) as process:
            trading = asyncio.create_task(trade(process.url))
            await asyncio.sleep(0.4)
            assert await process.kill(signal.SIGKILL) == -signal.SIGKILL
            with pytest.raises(Exception, match=r".*"):
                await trading
    async with _Process(tmp_path) as process:
        books = await _books(process.url)
        assert len(answered) > 10
        assert set(answered) <= {trade["orderId"] for trade in books["trades"]}
        assert len([flow for flow in books["flows"] if flow["kind"] == "initial"]) == 3
        before = books["balances"]
        assert await process.kill(signal.SIGTERM) == 0
    async with _Process(tmp_path) as process:
        assert (await _books(process.url))["balances"] == before


# -- the demo trader


async def _wait_for_trades(url: str, count: int) -> int:
    for _ in range(150):
        if len((await _books(url))["trades"]) >= count:
            break
        await asyncio.sleep(0.2)
    return len((await _books(url))["trades"])


@pytest.mark.parametrize(
    "address", ["https://api.binance.com", "https://testnet.binance.vision", "https://api.binance.us"]
)
async def test_the_demo_never_starts_against_a_real_exchange(address: str) -> None:
    with pytest.raises(NotSimulatedError, match="is not a simulated exchange"):
        await run_demo(DemoOptions(url=address))


async def test_the_demo_refuses_a_server_that_is_no_exchange(url: str) -> None:
    await ensure_simulated(url)
    with pytest.raises(NotSimulatedError):
        await ensure_simulated(f"{url}/elsewhere")


async def test_the_demo_trades_and_goes_on_after_a_restart(tmp_path: Path, unused_tcp_port: int) -> None:
    options = ExchangeOptions(port=unused_tcp_port, state=tmp_path)
    demo = asyncio.create_task(run_demo(DemoOptions(url=f"http://127.0.0.1:{unused_tcp_port}", speed=50, seed=3)))
    counts: list[int] = []
    try:
        for _ in range(2):
            async with running_exchange(options) as url:
                counts.append(await _wait_for_trades(url, 8 + sum(counts[-1:])))
    finally:
        demo.cancel()
        await asyncio.gather(demo, return_exceptions=True)
    assert counts[0] >= 8
    assert counts[1] >= counts[0] + 8
