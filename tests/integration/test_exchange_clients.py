"""python-binance's own client, unchanged but for base addresses, group by group; the operator's controls."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from binance import AsyncClient, BinanceSocketManager
from binance.exceptions import BinanceAPIException

from infra.exchange.accounts import load_accounts
from infra.exchange.app import ExchangeOptions, running_exchange
from infra.exchange.security import AccountKey
from tests.support.exchange_client import local_client, next_event, user_stream

_KEYS = (
    AccountKey("demo", "demo-key", "demo-secret"),
    AccountKey("demo", "reading-key", "reading-secret", may_trade=False),
    AccountKey("demo", "withdrawing-key", "withdrawing-secret", may_withdraw=True),
)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    options = ExchangeOptions(accounts=_KEYS, symbols=("USDCUSDT", "BTCUSDC", "SOLUSDT"))
    async with running_exchange(options) as address:
        yield address


@pytest.fixture
async def client(url: str) -> AsyncIterator[Any]:
    async with local_client(url) as connected:
        yield connected


@pytest.fixture
async def operator(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{url}/operator", trust_env=False) as connected:
        yield connected


async def _price(client: Any, factor: str) -> str:
    """So many times the last price of BTCUSDT, which is where the symbol trades at whatever time the test runs."""
    last = Decimal((await client.get_symbol_ticker(symbol="BTCUSDT"))["price"])
    return f"{last * Decimal(factor):.2f}"


async def _pair(client: Any, **more: str) -> dict[str, Any]:
    placed: dict[str, Any] = await client.create_oco_order(
        symbol="BTCUSDT",
        side="SELL",
        quantity="0.01",
        aboveType="LIMIT_MAKER",
        abovePrice=await _price(client, "1.2"),
        belowType="STOP_LOSS_LIMIT",
        belowPrice=await _price(client, "0.8"),
        belowStopPrice=await _price(client, "0.9"),
        belowTimeInForce="GTC",
        **more,
    )
    return placed


# -- order lists


async def test_order_lists_are_placed_found_and_cancelled(client: Any) -> None:
    placed = await _pair(client, listClientOrderId="mine")
    assert [each["status"] for each in placed["orderReports"]] == ["NEW", "NEW"]
    assert [each["workingTime"] == -1 for each in placed["orderReports"]] == [False, True]
    assert (placed["contingencyType"], placed["listStatusType"]) == ("OCO", "EXEC_STARTED")
    assert [each["orderListId"] for each in await client.get_open_oco_orders()] == [placed["orderListId"]]
    stop = await client.get_order(symbol="BTCUSDT", orderId=placed["orders"][1]["orderId"])
    assert (stop["isWorking"], stop["orderListId"]) == (False, placed["orderListId"])
    found = await client.v3_get_order_list(origClientOrderId="mine")
    assert found["orders"] == placed["orders"]

    cancelled = await client.v3_delete_order_list(symbol="BTCUSDT", orderListId=placed["orderListId"])
    assert [each["status"] for each in cancelled["orderReports"]] == ["CANCELED", "CANCELED"]
    assert await client.get_open_oco_orders() == []
    assert [each["listOrderStatus"] for each in await client.v3_get_all_order_list()] == ["ALL_DONE"]


async def test_a_cancelled_order_takes_its_list_along(url: str, client: Any) -> None:
    placed = await _pair(client)
    async with user_stream(url) as socket:
        await client.cancel_order(symbol="BTCUSDT", orderId=placed["orders"][0]["orderId"])
        events = [await next_event(socket) for _ in range(4)]
    assert [event["e"] for event in events] == [*["executionReport"] * 2, "listStatus", "outboundAccountPosition"]
    assert (events[2]["L"], events[2]["g"]) == ("ALL_DONE", placed["orderListId"])


async def test_a_pair_follows_a_filled_order(client: Any) -> None:
    placed = await client.v3_post_order_list_otoco(
        symbol="BTCUSDT",
        workingType="LIMIT",
        workingSide="BUY",
        workingPrice=await _price(client, "1.05"),
        workingQuantity="0.01",
        workingTimeInForce="GTC",
        pendingSide="SELL",
        pendingQuantity="0.01",
        pendingAboveType="LIMIT_MAKER",
        pendingAbovePrice=await _price(client, "1.2"),
        pendingBelowType="STOP_LOSS",
        pendingBelowStopPrice=await _price(client, "0.9"),
    )
    assert [each["status"] for each in placed["orderReports"]] == ["FILLED", "NEW", "NEW"]
    assert placed["contingencyType"] == "OTO"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"belowType": "LIMIT_MAKER", "belowStopPrice": "", "belowTimeInForce": ""}, -1168),
        ({"belowStopPrice": "250000", "belowPrice": "250000"}, -2010),
        ({"aboveType": "STOP_LOSS_LIMIT", "aboveStopPrice": "90000", "aboveTimeInForce": "GTC"}, -1158),
        ({"quantity": "1"}, -2010),
    ],
)
async def test_lists_that_are_refused(client: Any, changes: dict[str, str], code: int) -> None:
    pair = {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "quantity": "0.01",
        "aboveType": "LIMIT_MAKER",
        "abovePrice": await _price(client, "1.2"),
        "belowType": "STOP_LOSS_LIMIT",
        "belowPrice": await _price(client, "0.8"),
        "belowTimeInForce": "GTC",
        "belowStopPrice": await _price(client, "0.9"),
    }
    with pytest.raises(BinanceAPIException) as refused:
        await client.create_oco_order(**{name: value for name, value in (pair | changes).items() if value})
    assert refused.value.code == code
    assert await client.get_open_orders() == []


# -- prevention and routing


async def test_prevented_matches_and_their_history(client: Any) -> None:
    # BNBUSDT stands at 512.29 bid and 512.31 asked, always: this is between.
    price = "512.30"
    bid = {"symbol": "BNBUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    maker = await client.create_order(**bid, price=price)
    taker = await client.create_order(**(bid | {"side": "SELL"}), price=price, selfTradePreventionMode="EXPIRE_BOTH")
    (met,) = taker["preventedMatches"]
    assert (taker["status"], taker["preventedQuantity"]) == ("EXPIRED_IN_MATCH", "0.01000000")
    (row,) = await client.get_prevented_matches(symbol="BNBUSDT", orderId=taker["orderId"])
    assert row["makerOrderId"] == met["makerOrderId"] == maker["orderId"]
    assert row["selfTradePreventionMode"] == "EXPIRE_BOTH"
    assert await client.get_prevented_matches(symbol="BNBUSDT", preventedMatchId=row["preventedMatchId"]) == [row]


async def test_routed_orders_and_their_allocations(client: Any) -> None:
    info = await client.get_exchange_info()
    assert {"baseAsset": "BTC", "symbols": ["BTCUSDT", "BTCUSDC"]} in info["sors"]
    order = await client.v3_post_sor_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    assert (order["status"], order["usedSor"], order["fills"][0]["tradeId"]) == ("FILLED", True, -1)
    allocations = await client.get_allocations(symbol="BTCUSDT")
    assert [each["allocationId"] for each in allocations] == [each["allocId"] for each in order["fills"]]
    assert await client.get_my_trades(symbol="BTCUSDT") == []
    newest = await client.get_allocations(symbol="BTCUSDT", fromAllocationId=allocations[-1]["allocationId"])
    assert newest == allocations[-1:]


# -- the WebSocket API and the streams


async def test_the_websocket_api(url: str) -> None:
    class LocalClient(AsyncClient):  # type: ignore[misc] # python-binance has no types
        API_URL = f"{url}/api"
        WS_API_URL = f"{url.replace('http', 'ws')}/ws-api/v3"

    client = LocalClient("demo-key", "demo-secret")
    try:
        order = await client.ws_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
        assert order["status"] == "FILLED"
        account = await client.ws_get_account()
        assert account["accountType"] == "SPOT"
        trades = await client.ws_get_my_trades(symbol="BTCUSDT")
        assert [each["id"] for each in trades] == [fill["tradeId"] for fill in order["fills"]]
        assert await client.ws_get_open_orders() == []
        counts = await client.ws_get_account_rate_limits_orders()
        assert [(each["interval"], each["count"]) for each in counts] == [("SECOND", 0), ("DAY", 0)]
        assert (await client.ws_get_symbol_ticker(symbol="BNBUSDT"))["price"] == "512.30000000"
    finally:
        await client.close_connection()


async def test_market_streams_through_its_socket_manager(url: str, client: Any) -> None:
    class LocalManager(BinanceSocketManager):  # type: ignore[misc] # python-binance has no types
        STREAM_URL = f"{url.replace('http', 'ws')}/"

    async with LocalManager(client).trade_socket("SOLUSDT") as stream:
        trade = await asyncio.wait_for(stream.recv(), 10)
    assert (trade["e"], trade["s"]) == ("trade", "SOLUSDT")


# -- order counts


async def test_orders_that_rest_are_counted(client: Any) -> None:
    price = await _price(client, "0.5")
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}
    for _ in range(2):
        await client.create_order(**order, price=price)
    assert client.response.headers["X-MBX-ORDER-COUNT-1D"] == "2"
    await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
    assert client.response.headers["X-MBX-ORDER-COUNT-1D"] == "2"
    assert [each["limit"] for each in await client.v3_get_rate_limit_order()] == [100, 200_000]


# -- accounts and keys


@pytest.mark.parametrize(
    ("name", "trades", "withdraws"), [("demo", True, False), ("reading", False, False), ("withdrawing", True, True)]
)
async def test_what_a_key_may_do_is_told(url: str, name: str, trades: bool, withdraws: bool) -> None:
    async with local_client(url, f"{name}-key", f"{name}-secret") as client:
        told = await client.get_account_api_permissions()
        assert (told["enableSpotAndMarginTrading"], told["enableWithdrawals"]) == (trades, withdraws)
        if not trades:
            with pytest.raises(BinanceAPIException, match="permissions for action"):
                await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")


async def test_the_operator_opens_accounts(url: str, operator: httpx.AsyncClient) -> None:
    described = {
        "account": "third",
        "balances": {"USDT": "500"},
        "trade_group": 3,
        "keys": [{"key": "k3", "secret": "s3", "permission": "read"}],
    }
    assert (await operator.post("/accounts", json=described)).json() == {"account": "third", "keys": ["k3"]}
    async with local_client(url, "k3", "s3") as client:
        account = await client.get_account(omitZeroBalances="true")
    assert account["balances"] == [{"asset": "USDT", "free": "500.00000000", "locked": "0.00000000"}]
    assert account["tradeGroupId"] == 3


async def test_accounts_that_make_no_sense_are_not_opened(operator: httpx.AsyncClient) -> None:
    wrong: list[Any] = [
        {"account": ""},
        {"account": "x", "balances": {"NOSUCH": "1"}},
        {"account": "x", "balances": {"USDT": "-1"}},
        {"account": "x", "balances": {"USDT": "NaN"}},
        {"account": "x", "keys": [{"key": "k", "secret": "s", "permission": "everything"}]},
        {"account": "x", "more": 1},
        [],
    ]
    for described in wrong:
        assert (await operator.post("/accounts", json=described)).status_code == 400, described
    assert (await operator.get("/")).json()["accounts"] == ["demo"]


async def test_accounts_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "accounts.toml"
    file.write_text(
        '[[account]]\naccount = "main"\nbalances = { USDT = "100000", BTC = "1.5" }\ntrade_group = 7\n'
        'keys = [{ key = "k1", secret = "s1", permission = "read" }, { key = "k2", secret = "s2" }]\n'
        '[[account]]\naccount = "hedge"\nkeys = [{ key = "k3", secret = "s3" }]\n'
    )
    options = ExchangeOptions(accounts=(), described=load_accounts(file))
    async with running_exchange(options) as url, local_client(url, "k2", "s2") as client:
        assert (await client.get_asset_balance("BTC"))["free"] == "1.50000000"
        async with local_client(url, "k3", "s3") as hedge:
            assert (await hedge.get_asset_balance("USDT"))["free"] == "25000.00000000"


@pytest.mark.parametrize("text", ["", "[[account]]", '[[account]]\naccount = "a"\nbalances = { USDT = 0 }', "nonsense"])
def test_files_that_make_no_sense_are_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "accounts.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"accounts\.toml"):
        load_accounts(file)


# -- symbols, orders and limits by the operator


async def test_symbols_are_halted_delisted_and_listed(client: Any, operator: httpx.AsyncClient) -> None:
    async def change(symbol: str, status: str) -> int:
        return (await operator.post("/symbols", json={"symbol": symbol, "status": status})).status_code

    async def status(symbol: str) -> str | None:
        symbols = (await client.get_exchange_info())["symbols"]
        return next((each["status"] for each in symbols if each["symbol"] == symbol), None)

    buy = {"symbol": "SOLUSDT", "side": "BUY", "type": "MARKET", "quoteOrderQty": "100"}
    await client.create_order(**buy)
    assert await change("SOLUSDT", "HALT") == 200
    with pytest.raises(BinanceAPIException, match=r"Market is closed\."):
        await client.create_order(**buy)
    assert (await status("SOLUSDT"), len(await client.get_my_trades(symbol="SOLUSDT"))) == ("HALT", 1)
    assert await change("SOLUSDT", "TRADING") == 200
    assert (await client.create_order(**buy))["status"] == "FILLED"

    above = f"{Decimal((await client.get_symbol_ticker(symbol='BTCUSDC'))['price']) * 2:.0f}"
    resting = await client.create_order(
        symbol="BTCUSDC", side="SELL", type="LIMIT", timeInForce="GTC", quantity="0.01", price=above
    )
    assert await change("BTCUSDC", "DELISTED") == 200
    assert await status("BTCUSDC") is None
    with pytest.raises(BinanceAPIException, match=r"Invalid symbol\."):
        await client.get_order(symbol="BTCUSDC", orderId=resting["orderId"])
    assert await client.get_open_orders() == []

    assert await change("DOGEUSDT", "TRADING") == 200
    assert (await client.create_order(**(buy | {"symbol": "DOGEUSDT"})))["status"] == "FILLED"
    assert len(await client.get_klines(symbol="DOGEUSDT", interval="1m", limit=3)) == 3
    assert await change("XXXYYY", "HALT") == 400
    assert await change("NOQUOTE", "TRADING") == 400


async def test_what_was_listed_is_there_again_after_a_restart(tmp_path: Path) -> None:
    options = ExchangeOptions(state=tmp_path)
    buy = {"symbol": "DOGEUSDT", "side": "BUY", "type": "MARKET", "quoteOrderQty": "100"}
    async with running_exchange(options) as url, httpx.AsyncClient(base_url=url) as http, local_client(url) as client:
        await http.post("/operator/symbols", json={"symbol": "DOGEUSDT", "status": "TRADING"})
        await http.post("/operator/symbols", json={"symbol": "ETHBTC", "status": "HALT"})
        order = await client.create_order(**buy)
    async with running_exchange(options) as url, local_client(url) as client:
        assert len(await client.get_my_trades(symbol="DOGEUSDT")) == len(order["fills"])
        symbols = {each["symbol"]: each["status"] for each in (await client.get_exchange_info())["symbols"]}
        assert (symbols["DOGEUSDT"], symbols["ETHBTC"]) == ("TRADING", "HALT")


async def test_the_operator_orders_past_all_limits_and_asks_what_was_used(
    client: Any, operator: httpx.AsyncClient
) -> None:
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quoteOrderQty": "10"}
    body = {"account": "demo", "orders": [order, order | {"symbol": "NOPE"}, order]}
    answers = (await operator.post("/orders", json=body)).json()
    assert [each.get("status", each.get("code")) for each in answers] == ["FILLED", -1121, "FILLED"]
    assert (await operator.get("/limits")).json()["api"] == {}
    await client.get_account()
    assert (await operator.get("/limits")).json()["api"] == {
        "127.0.0.1": {"limit": 6000, "most_used": 20, "refused": {}}
    }
    assert (await operator.post("/orders", json=body | {"account": "nobody"})).status_code == 400
