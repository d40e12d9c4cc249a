"""What moves balances besides trades: made by the operator, told by events, listed by histories, kept in the books."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from binance.exceptions import BinanceAPIException

from infra.exchange.app import ExchangeOptions, running_exchange
from infra.exchange.security import AccountKey
from tests.support.exchange_client import local_client, next_event, now_ms, user_stream

_KEYS = (AccountKey("demo", "demo-key", "demo-secret"), AccountKey("demo", "read-key", "read-secret", may_trade=False))
_DAY_MS = 86_400_000


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running_exchange(ExchangeOptions(accounts=_KEYS)) as address:
        yield address


@pytest.fixture
async def client(url: str) -> AsyncIterator[Any]:
    async with local_client(url) as connected:
        yield connected


@pytest.fixture
async def operator(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url) as connected:
        yield connected


async def _do(operator: httpx.AsyncClient, name: str, **body: object) -> dict[str, Any]:
    answer = await operator.post(f"/operator/{name}", json=body if name == "status" else {"account": "demo"} | body)
    assert answer.status_code == 200, answer.text
    operation: dict[str, Any] = answer.json()
    return operation


async def _books(operator: httpx.AsyncClient) -> dict[str, Any]:
    books: dict[str, Any] = (await operator.get("/operator/books")).json()["accounts"]["demo"]
    return books


async def _free(client: Any) -> dict[str, Decimal]:
    return {each["asset"]: Decimal(each["free"]) for each in (await client.get_account())["balances"]}


async def _earn(client: Any, path: str, **params: object) -> dict[str, Any]:
    answer: dict[str, Any] = await client._request_margin_api("get", f"simple-earn/{path}", signed=True, data=params)
    return answer


async def test_a_bust_takes_a_trade_back_once_and_no_interface_says_why(
    url: str, client: Any, operator: httpx.AsyncClient
) -> None:
    before = await _free(client)
    order = await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
    trades = await client.get_my_trades(symbol="BTCUSDT")
    assert await _free(client) != before
    async with user_stream(url) as socket:
        for trade in trades:
            await _do(operator, "bust", symbol="BTCUSDT", trade_id=trade["id"])
        first, second = await next_event(socket), await next_event(socket)
    assert {first["e"], second["e"]} == {"balanceUpdate"}
    assert await _free(client) == before
    assert await client.get_my_trades(symbol="BTCUSDT") == trades
    assert order["status"] == "FILLED"
    again = await operator.post(
        "/operator/bust", json={"account": "demo", "symbol": "BTCUSDT", "trade_id": trades[0]["id"]}
    )
    assert again.status_code == 400
    assert {flow["kind"] for flow in (await _books(operator))["flows"]} == {"initial", "bust"}


# -- each history, through python-binance where it has a method


async def test_a_deposit_is_pending_then_credited(url: str, client: Any, operator: httpx.AsyncClient) -> None:
    async with user_stream(url) as socket:
        pending = await _do(operator, "deposit", asset="ETH", amount="0.5", status="pending")
        (row,) = await client.get_deposit_history()
        assert (row["status"], row["confirmTimes"], (await _free(client))["ETH"]) == (0, "0/1", 0)
        credited = await _do(operator, "status", id=pending["id"], status="completed")
        update, position = await next_event(socket), await next_event(socket)
    assert (update["e"], update["a"], update["d"]) == ("balanceUpdate", "ETH", "0.50000000")
    assert (position["e"], position["E"]) == ("outboundAccountPosition", update["E"])
    (row,) = await client.get_deposit_history(coin="ETH", status=1)
    assert (row["id"], row["amount"], row["coin"]) == (str(pending["id"]), "0.5", "ETH")
    assert row["insertTime"] == pending["time_us"] // 1000
    assert row["completeTime"] == credited["time_us"] // 1000
    assert await client.get_deposit_history(coin="BTC") == []
    (flow,) = [flow for flow in (await _books(operator))["flows"] if flow["operation"] == pending["id"]]
    assert (flow["kind"], flow["amount"]) == ("deposit", "0.50000000")


async def test_a_withdrawal_takes_its_fee_and_comes_back_when_it_is_rejected(
    client: Any, operator: httpx.AsyncClient
) -> None:
    applied = await _do(operator, "withdraw", asset="BTC", amount="0.01", fee="0.0001", status="applied")
    assert (await _free(client))["BTC"] == Decimal("0.0399")
    states = []
    for status in ("processing", "completed"):
        (row,) = await client.get_withdraw_history()
        states.append(row["status"])
        await _do(operator, "status", id=applied["id"], status=status)
    (row,) = await client.get_withdraw_history(status=6)
    assert states == [2, 4]
    assert (row["id"], row["amount"], row["transactionFee"]) == (str(applied["id"]), "0.01", "0.0001")
    began = datetime.strptime(row["applyTime"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert int(began.timestamp()) == applied["time_us"] // 1_000_000
    refused = await operator.post("/operator/status", json={"id": applied["id"], "status": "rejected"})
    assert refused.status_code == 400

    lost = await _do(operator, "withdraw", asset="BTC", amount="0.02", status="applied")
    await _do(operator, "status", id=lost["id"], status="rejected")
    assert (await _free(client))["BTC"] == Decimal("0.0399")
    assert [each["status"] for each in await client.get_withdraw_history()] == [3, 6]


async def test_transfers_in_and_out(client: Any, operator: httpx.AsyncClient) -> None:
    out = await _do(operator, "transfer", asset="USDT", amount="100", type="MAIN_UMFUTURE")
    await _do(operator, "transfer", asset="USDT", amount="30", type="UMFUTURE_MAIN")
    assert (await _free(client))["USDT"] == 24_930
    history = await client.query_universal_transfer_history(type="MAIN_UMFUTURE")
    assert history["total"] == 1
    assert history["rows"][0]["tranId"] == out["id"]
    assert (history["rows"][0]["amount"], history["rows"][0]["status"]) == ("100", "CONFIRMED")
    with pytest.raises(BinanceAPIException) as refused:
        await client.query_universal_transfer_history()
    assert refused.value.code == -1102


async def test_a_conversion_moves_both_assets_at_once(url: str, client: Any, operator: httpx.AsyncClient) -> None:
    async with user_stream(url) as socket:
        converted = await _do(operator, "convert", asset="USDT", amount="1024.6", to_asset="BNB")
        events = [await next_event(socket) for _ in range(3)]
    # BNB is always 512.30 USDT here
    assert [(event["e"], event.get("a"), event.get("d")) for event in events] == [
        ("balanceUpdate", "USDT", "-1024.60000000"),
        ("balanceUpdate", "BNB", "2.00000000"),
        ("outboundAccountPosition", None, None),
    ]
    assert {each["a"]: each["f"] for each in events[2]["B"]} == {"BNB": "3.00000000", "USDT": "23975.40000000"}
    history = await client.get_convert_trade_history(startTime=now_ms() - _DAY_MS, endTime=now_ms() + 1000)
    (row,) = history["list"]
    assert (row["orderId"], row["fromAsset"], row["fromAmount"]) == (converted["id"], "USDT", "1024.6")
    assert (row["toAsset"], row["toAmount"], row["inverseRatio"]) == ("BNB", "2", "512.30000000")
    assert history["moreData"] is False
    flows = [flow for flow in (await _books(operator))["flows"] if flow["operation"] == converted["id"]]
    assert [(flow["kind"], flow["asset"], flow["amount"]) for flow in flows] == [
        ("convert", "USDT", "-1024.60000000"),
        ("convert", "BNB", "2.00000000"),
    ]


async def test_dust_becomes_bnb_less_a_charge(client: Any, operator: httpx.AsyncClient) -> None:
    await _do(operator, "transfer", asset="USDT", amount="24994.877")  # 5.123 left: worth 0.01 BNB
    swept = await _do(operator, "dust", assets=["USDT"])
    free = await _free(client)
    assert (free["USDT"], free["BNB"]) == (0, Decimal("1.0098"))
    log = await client.get_dust_log()
    (dribblet,) = log["userAssetDribblets"]
    assert (log["total"], dribblet["transId"]) == (1, swept["id"])
    assert (dribblet["totalTransferedAmount"], dribblet["totalServiceChargeAmount"]) == ("0.0098", "0.0002")
    assert dribblet["userAssetDribbletDetails"][0]["amount"] == "5.123"
    assert dribblet["userAssetDribbletDetails"][0]["fromAsset"] == "USDT"


async def test_airdrops_and_rebates(client: Any, operator: httpx.AsyncClient) -> None:
    for number in range(1, 4):
        await _do(operator, "airdrop", asset="BNB", amount=f"0.0{number}", info="Launchpool")
    rebate = await _do(operator, "rebate", asset="USDT", amount="1.5")
    history = await client.get_asset_dividend_history(limit=2)
    assert (history["total"], [row["amount"] for row in history["rows"]]) == (3, ["0.03000000", "0.02000000"])
    assert history["rows"][0]["enInfo"] == "Launchpool"
    rebates = await client._request_margin_api("get", "rebate/taxQuery", signed=True, data={})
    assert rebates["data"]["totalRecords"] == 1
    assert rebates["data"]["data"][0] == {
        "asset": "USDT",
        "type": 1,
        "amount": "1.5",
        "updateTime": rebate["time_us"] // 1000,
    }
    kinds = [flow["kind"] for flow in (await _books(operator))["flows"]]
    assert kinds == ["initial"] * 3 + ["airdrop"] * 3 + ["rebate"]


async def test_flexible_earn_shows_in_the_spot_wallet_under_another_name(
    client: Any, operator: httpx.AsyncClient
) -> None:
    subscribed = await _do(operator, "earn/subscribe", asset="USDT", amount="1000")
    redeemed = await _do(operator, "earn/redeem", asset="USDT", amount="400")
    await _do(operator, "earn/reward", asset="USDT", amount="0.25", type="BONUS")
    free = await _free(client)
    assert (free["USDT"], free["LDUSDT"]) == (Decimal("24400.25"), 600)
    subscriptions = await client.margin_v1_get_simple_earn_flexible_history_subscription_record()
    redemptions = await client.margin_v1_get_simple_earn_flexible_history_redemption_record(asset="USDT")
    rewards = await _earn(client, "flexible/history/rewardsRecord", type="ALL")
    assert subscriptions["rows"][0]["purchaseId"] == subscribed["id"]
    assert (subscriptions["rows"][0]["amount"], subscriptions["total"]) == ("1000", 1)
    assert (redemptions["rows"][0]["redeemId"], redemptions["rows"][0]["status"]) == (redeemed["id"], "PAID")
    assert (rewards["rows"][0]["rewards"], rewards["rows"][0]["type"]) == ("0.25", "BONUS")
    assert (await _earn(client, "flexible/history/rewardsRecord", type="REALTIME"))["rows"] == []
    too_much = await operator.post(
        "/operator/earn/redeem", json={"account": "demo", "asset": "USDT", "amount": "600.01"}
    )
    assert too_much.json()["code"] == -2010
    earned = [flow for flow in (await _books(operator))["flows"] if flow["asset"] == "LDUSDT"]
    assert [(flow["kind"], flow["price"]) for flow in earned] == [("earn", "1.00000000")] * 2


async def test_locked_earn_leaves_the_spot_wallet(client: Any, operator: httpx.AsyncClient) -> None:
    await _do(operator, "earn/subscribe", asset="BNB", amount="0.4", product="locked")
    await _do(operator, "earn/redeem", asset="BNB", amount="0.1", product="locked")
    await _do(operator, "earn/reward", asset="BNB", amount="0.01", product="locked")
    free = await _free(client)
    assert (free["BNB"], "LDBNB" in free) == (Decimal("0.71"), False)
    subscriptions = await client.margin_v1_get_simple_earn_locked_history_subscription_record()
    redemptions = await client.margin_v1_get_simple_earn_locked_history_redemption_record()
    rewards = await _earn(client, "locked/history/rewardsRecord")
    amounts = [each["rows"][0]["amount"] for each in (subscriptions, redemptions, rewards)]
    assert amounts == ["0.4", "0.1", "0.01"]


# -- limits


@pytest.mark.parametrize(
    ("method", "days", "more"),
    [
        ("get_deposit_history", 90, {}),
        ("get_withdraw_history", 90, {}),
        ("get_convert_trade_history", 30, {}),
        ("get_asset_dividend_history", 180, {}),
        ("query_universal_transfer_history", 180, {"type": "MAIN_UMFUTURE"}),
    ],
)
async def test_a_period_that_is_too_long_is_refused(client: Any, method: str, days: int, more: dict[str, str]) -> None:
    end = now_ms()
    assert await getattr(client, method)(startTime=end - days * _DAY_MS, endTime=end, **more) is not None
    with pytest.raises(BinanceAPIException, match=f"0-{days} days") as refused:
        await getattr(client, method)(startTime=end - days * _DAY_MS - 1, endTime=end, **more)
    assert refused.value.code == -4047


async def test_histories_are_paged(client: Any, operator: httpx.AsyncClient) -> None:
    for number in range(1, 6):
        await _do(operator, "deposit", asset="USDT", amount=str(number))
        await _do(operator, "transfer", asset="USDT", amount=str(number))
    pages = [await client.get_deposit_history(limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [[row["amount"] for row in page] for page in pages] == [["5", "4"], ["3", "2"], ["1"]]
    page = await client.query_universal_transfer_history(type="MAIN_UMFUTURE", current=2, size=3)
    assert ([row["amount"] for row in page["rows"]], page["total"]) == (["2", "1"], 5)


async def _ask_for_withdrawals(client: Any, times: int) -> None:
    for _ in range(times):
        await client.get_withdraw_history()


async def test_each_history_has_a_weight_of_its_own(url: str, client: Any) -> None:
    for _ in range(2):
        await client.get_deposit_history()
    assert client.response.headers["X-SAPI-USED-IP-WEIGHT-1M"] in {"1", "2"}
    assert "X-MBX-USED-WEIGHT-1M" not in client.response.headers
    with pytest.raises(BinanceAPIException) as refused:
        await _ask_for_withdrawals(client, 21)  # 18,000 each of 180,000 a minute, which may begin anew meanwhile
    assert (refused.value.status_code, refused.value.code) == (429, -1003)
    assert await client.get_account()


async def test_a_key_may_be_read_only(url: str, client: Any) -> None:
    assert (await client.get_account_api_permissions())["enableSpotAndMarginTrading"] is True
    async with local_client(url, "read-key", "read-secret") as reader:
        permissions = await reader.get_account_api_permissions()
        assert (permissions["enableReading"], permissions["enableSpotAndMarginTrading"]) == (True, False)
        assert permissions["enableWithdrawals"] is False
        assert await reader.get_account()
        with pytest.raises(BinanceAPIException) as refused:
            await reader.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
        assert (refused.value.status_code, refused.value.code) == (401, -2015)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("deposit", {"asset": "XRP", "amount": "1"}),
        ("deposit", {"asset": "BTC", "amount": "-1"}),
        ("deposit", {"asset": "BTC", "amount": "0.000000001"}),
        ("deposit", {"asset": "BTC", "amount": "1", "status": "applied"}),
        ("withdraw", {"asset": "BTC", "amount": "9"}),
        ("withdraw", {"asset": "BTC", "amount": "0.05", "fee": "0.00000001"}),
        ("transfer", {"asset": "BTC", "amount": "0.01", "type": "FUNDING_UMFUTURE"}),
        ("convert", {"asset": "BTC", "amount": "0.01", "to_asset": "BTC"}),
        ("dust", {"assets": ["BNB"]}),
        ("dust", {"assets": []}),
        ("earn/subscribe", {"asset": "BTC", "amount": "0.01", "product": "staked"}),
        ("earn/reward", {"asset": "BTC", "amount": "0.01", "type": "GIFT"}),
        ("rebate", {"asset": "BTC", "amount": "0.01", "type": "3"}),
        ("rebate", {"asset": "BTC", "amount": "0.01", "unknown": "3"}),
        ("rebate", {"asset": "BTC", "amount": "0.01", "account": "nobody"}),
        ("bust", {"symbol": "BTCUSDT", "trade_id": 7}),
        ("bust", {"symbol": "NOSUCH", "trade_id": 7}),
        ("bust", {"trade_id": "7"}),
        ("status", {"id": 99, "status": "completed"}),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    operator: httpx.AsyncClient, name: str, body: dict[str, object]
) -> None:
    before = await _books(operator)
    answer = await operator.post(f"/operator/{name}", json=body if name == "status" else {"account": "demo"} | body)
    assert (answer.status_code, answer.json()["code"] < 0) == (400, True)
    assert await _books(operator) == before


async def test_operations_survive_a_restart(tmp_path: Path) -> None:
    seen = []
    for round_ in range(2):
        options = ExchangeOptions(state=tmp_path)
        async with (
            running_exchange(options) as url,
            local_client(url) as client,
            httpx.AsyncClient(base_url=url) as http,
        ):
            if round_ == 0:
                await _do(http, "deposit", asset="USDT", amount="7", status="pending")
                await _do(http, "status", id=1, status="completed")
                await _do(http, "dust", assets=["BTC"])
                await _do(http, "earn/subscribe", asset="BNB", amount="0.5")
            log = await client.get_dust_log()
            seen.append((await _free(client), await client.get_deposit_history(), log, await _books(http)))
    assert seen[0] == seen[1]
    assert seen[1][0]["LDBNB"] == Decimal("0.5")
