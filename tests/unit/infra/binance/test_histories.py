"""Histories as Binance documents them become movements; windows and pages are read whole, and what fails is named."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from infra.binance import history_rows as rows_of
from infra.binance.histories import HistoriesRead, read_histories
from infra.binance.history_rows import Movement
from portfolio.errors import PortfolioError
from portfolio.events import FlowKind
from tests.support.scripted_exchange import ScriptedExchange, connected

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS
ROW_MS = NOW_MS - DAY_MS // 2


def told(movements: list[Movement]) -> list[tuple[str, str, Decimal, FlowKind]]:
    return [(each.id, each.asset, each.quantity, each.kind) for each in movements]


DEPOSIT = {
    "id": "769800519366885376", "amount": "0.001", "coin": "BNB", "network": "BNB", "status": 1, "address": "bnb1",
    "addressTag": "101764890", "txId": "98A3EA560C6B3336D348B6C83F0F95ECE4F1F5919E94BD006E5BF3BF264FACFC",
    "insertTime": 1661493146000, "completeTime": 1661493146500, "transferType": 0, "confirmTimes": "1/1",
    "unlockConfirm": 0, "walletType": 0,
}  # fmt: skip
WITHDRAWAL = {
    "id": "b6ae22b3aa844210a7041aee7589627c", "amount": "8.91000000", "transactionFee": "0.004", "coin": "USDT",
    "status": 6, "address": "0x94df8b352de7f46f64b01d3666bf6e936e44ce60", "txId": "0xb5ef", "network": "ETH",
    "applyTime": "2019-10-12 11:12:02", "transferType": 0, "info": "", "confirmNo": 3, "walletType": 0, "txKey": "",
    "completeTime": "2023-03-23 16:52:41",
}  # fmt: skip


def test_a_deposit_counts_once_it_is_credited_and_only_to_the_spot_wallet() -> None:
    rows = [
        DEPOSIT,
        DEPOSIT | {"id": "2", "status": 6, "completeTime": None},
        DEPOSIT | {"id": "3", "status": 0},
        DEPOSIT | {"id": "4", "status": 2},
        DEPOSIT | {"id": "5", "walletType": 1},
    ]
    first, second = rows_of.decode_deposits(rows, 0)
    assert told([first]) == [("deposit:769800519366885376", "BNB", Decimal("0.001"), FlowKind.DEPOSIT)]
    assert (first.earliest_us, first.latest_us) == (1661493146000000, 1661493146500999)
    assert second.id == "deposit:2"


@pytest.mark.parametrize(
    ("status", "comes_back"), [(0, False), (2, False), (4, False), (6, False), (1, True), (3, True), (5, True)]
)
def test_a_withdrawal_takes_its_fee_along_and_brings_both_back_when_it_fails(status: int, *, comes_back: bool) -> None:
    movements = list(rows_of.decode_withdrawals([WITHDRAWAL | {"status": status}], 0))
    identifier = f"withdrawal:{WITHDRAWAL['id']}"
    expected = [(identifier, "USDT", Decimal("-8.914"), FlowKind.WITHDRAWAL)]
    back = [(f"{identifier}:returned", "USDT", Decimal("8.914"), FlowKind.WITHDRAWAL)]
    assert told(movements) == expected + (back if comes_back else [])
    # Its time has seconds only: it may have left at the end of that second.
    assert movements[0].time_us - movements[0].earliest_us == 999_999


def test_a_withdrawal_that_came_back_at_an_unknown_time_did_so_before_it_was_asked_for() -> None:
    row = {name: value for name, value in WITHDRAWAL.items() if name != "completeTime"} | {"status": 3}
    _, back = rows_of.decode_withdrawals([row], 1_700_000_000_000_000)
    assert back.latest_us == 1_700_000_000_000_999


def test_conversions_and_dust_are_two_flows_or_more() -> None:
    conversion = {
        "quoteId": "f3b91c525b2644c7bc1e1cd31b6e1aa6", "orderId": 940708407462087195, "orderStatus": "SUCCESS",
        "fromAsset": "USDT", "fromAmount": "20", "toAsset": "BNB", "toAmount": "0.06154036", "ratio": "0.00307702",
        "inverseRatio": "324.99", "createTime": 1624248872184,
    }  # fmt: skip
    assert told(list(rows_of.decode_conversions([conversion, conversion | {"orderStatus": "FAIL"}], 0))) == [
        ("convert:940708407462087195:from", "USDT", Decimal(-20), FlowKind.CONVERT),
        ("convert:940708407462087195:to", "BNB", Decimal("0.06154036"), FlowKind.CONVERT),
    ]
    dribblet = {
        "operateTime": 1615985535000, "totalTransferedAmount": "0.00132256",
        "totalServiceChargeAmount": "0.00002699", "transId": 45178372831,
        "userAssetDribbletDetails": [
            {"transId": 4359321, "serviceChargeAmount": "0.000009", "amount": "0.0009",
             "operateTime": 1615985535000, "transferedAmount": "0.000441", "fromAsset": "USDT"},
            {"transId": 4359321, "serviceChargeAmount": "0.00001799", "amount": "0.0009",
             "operateTime": 1615985535000, "transferedAmount": "0.00088156", "fromAsset": "ETH"},
        ],
    }  # fmt: skip
    movements = list(rows_of.decode_dribblets([dribblet], 0))
    assert [(each.asset, each.quantity) for each in movements] == [
        ("USDT", Decimal("-0.0009")), ("BNB", Decimal("0.000441")),
        ("ETH", Decimal("-0.0009")), ("BNB", Decimal("0.00088156")),
    ]  # fmt: skip
    assert {each.operation for each in movements} == {"dust:45178372831"}


def test_earn_moves_between_an_asset_and_its_twin() -> None:
    row = {"amount": "100", "asset": "USDT", "time": 1575018510000, "purchaseId": 26055, "status": "SUCCESS"}
    assert told(list(rows_of.decode_flexible_subscriptions([row], 0))) == [
        ("earn-subscription:26055:USDT", "USDT", Decimal(-100), FlowKind.EARN),
        ("earn-subscription:26055:LDUSDT", "LDUSDT", Decimal(100), FlowKind.EARN),
    ]
    funding = row | {"amtFromSpot": "30", "sourceAccount": "SPOTANDFUNDING"}
    assert [each.quantity for each in rows_of.decode_flexible_subscriptions([funding], 0)] == [-30, 100]
    redemption = {"amount": "1", "asset": "BTC", "time": 1575018510000, "redeemId": 40607, "status": "PAID"}
    assert [each.asset for each in rows_of.decode_flexible_redemptions([redemption], 0)] == ["BTC", "LDBTC"]
    assert not list(rows_of.decode_flexible_redemptions([redemption | {"destAccount": "FUNDING"}], 0))
    assert [each.quantity for each in rows_of.decode_locked_redemptions([redemption], 0)] == [1]
    assert [each.quantity for each in rows_of.decode_locked_subscriptions([row], 0)] == [-100]


def test_income_is_told_apart_and_equal_rows_without_an_id_are_numbered() -> None:
    reward = {"asset": "BUSD", "rewards": "0.00006408", "projectId": "USDT001", "type": "BONUS", "time": 1577233578000}
    assert [each.id for each in rows_of.decode_rewards([reward, reward], 0)] == [
        "reward:1577233578000:BUSD:BONUS:0.00006408:0",
        "reward:1577233578000:BUSD:BONUS:0.00006408:1",
    ]
    rebate = {"asset": "USDT", "type": 1, "amount": "0.0001126", "updateTime": 1637651320000}
    assert [each.kind for each in rows_of.decode_rebates([rebate], 0)] == [FlowKind.REBATE]
    dividend = {
        "id": 1637366104, "amount": "10.00000000", "asset": "BHFT", "divTime": 1563189166000,
        "enInfo": "BHFT distribution", "tranId": 2968885920, "direction": 1,
    }  # fmt: skip
    assert told(list(rows_of.decode_dividends([dividend], 0))) == [
        ("dividend:1637366104", "BHFT", Decimal(10), FlowKind.AIRDROP)
    ]


Asked = Callable[[web.Request], object]
EMPTY: dict[str, object] = {
    "capital/deposit/hisrec": [],
    "capital/withdraw/history": [],
    "asset/transfer": {"total": 0, "rows": []},
    "asset/dribblet": {"total": 0, "userAssetDribblets": []},
    "asset/assetDividend": {"total": 0, "rows": []},
    "convert/tradeFlow": {"list": [], "moreData": False},
    "rebate/taxQuery": {"status": "OK", "data": {"page": 1, "data": []}},
    **{
        f"simple-earn/{product}/history/{name}": {"total": 0, "rows": []}
        for product in ("flexible", "locked")
        for name in ("subscriptionRecord", "redemptionRecord", "rewardsRecord")
    },
}


def sapi(**scripts: Asked) -> ScriptedExchange:
    exchange = ScriptedExchange()
    for path, answer in EMPTY.items():
        exchange.scripts[f"/sapi/v1/{path}"] = [(200, answer)]
    exchange.scripts |= {f"/sapi/v1/{path.replace('__', '/')}": script for path, script in scripts.items()}
    return exchange


async def read(exchange: ScriptedExchange, since_ms: int, *, is_open_ended: bool = False) -> HistoriesRead:
    async with connected(exchange) as rest:
        return await read_histories(rest, since_ms * 1_000, NOW_MS * 1_000, is_open_ended=is_open_ended)


def in_period(request: web.Request, times_ms: list[int]) -> list[int]:
    return [ms for ms in times_ms if int(request.query["startTime"]) <= ms <= int(request.query["endTime"])]


async def test_periods_are_cut_into_windows_and_pages_are_followed() -> None:
    times_ms = [NOW_MS - number * DAY_MS // 16 for number in range(2_500)]

    def deposits(request: web.Request) -> object:
        offset, limit = int(request.query["offset"]), int(request.query["limit"])
        rows = [DEPOSIT | {"id": str(ms), "insertTime": ms} for ms in in_period(request, times_ms)]
        return rows[offset : offset + limit]

    def conversions(request: web.Request) -> object:
        assert int(request.query["endTime"]) - int(request.query["startTime"]) <= 30 * DAY_MS
        rows = [
            {"orderId": ms, "orderStatus": "SUCCESS", "fromAsset": "A", "fromAmount": "1", "toAsset": "B",
             "toAmount": "2", "createTime": ms}
            for ms in in_period(request, times_ms)
        ]  # fmt: skip
        return {"list": rows[: int(request.query["limit"])], "moreData": True}

    found = await read(sapi(capital__deposit__hisrec=deposits, convert__tradeFlow=conversions), NOW_MS - 150 * DAY_MS)
    assert not found.problems
    deposited = [each for each in found.movements.values() if each.kind is FlowKind.DEPOSIT]
    assert len(deposited) == len([ms for ms in times_ms if ms >= NOW_MS - 180 * DAY_MS])
    converted = {each.operation for each in found.movements.values() if each.kind is FlowKind.CONVERT}
    assert len(converted) == len([ms for ms in times_ms if ms >= NOW_MS - 151 * DAY_MS])


async def test_a_history_without_pages_is_read_on_from_its_oldest_row() -> None:
    times_ms = [NOW_MS - number * 1_000 for number in range(1_201)]

    def dividends(request: web.Request) -> object:
        rows = [{"id": ms, "amount": "1", "asset": "BNB", "divTime": ms} for ms in in_period(request, times_ms)]
        return {"rows": rows[: int(request.query["limit"])], "total": len(rows)}

    found = await read(sapi(asset__assetDividend=dividends), NOW_MS - DAY_MS)
    assert len(found.movements) == 1_201


async def test_without_a_beginning_it_goes_back_until_a_window_is_empty() -> None:
    times_ms = [NOW_MS - days * DAY_MS for days in (10, 100, 200, 500)]

    def deposits(request: web.Request) -> object:
        return [DEPOSIT | {"id": str(ms), "insertTime": ms} for ms in in_period(request, times_ms)]

    found = await read(sapi(capital__deposit__hisrec=deposits), NOW_MS - DAY_MS, is_open_ended=True)
    assert len(found.movements) == 3


async def test_what_cannot_be_read_is_named_and_the_others_are_read() -> None:
    exchange = sapi(asset__dribblet=lambda _request: {"no": "list"})
    del exchange.scripts["/sapi/v1/rebate/taxQuery"]
    exchange.scripts["/sapi/v1/capital/deposit/hisrec"] = [(200, [DEPOSIT | {"insertTime": ROW_MS}])]
    exchange.scripts["/sapi/v1/convert/tradeFlow"] = [(401, {"code": -2015, "msg": "Not this key."})]
    exchange.scripts["/sapi/v1/capital/withdraw/history"] = [(200, [WITHDRAWAL | {"amount": "NaN"}])]
    found = await read(exchange, NOW_MS - DAY_MS)
    assert found.problems.keys() == {"dust", "rebates", "conversions", "withdrawals"}
    assert len(found.movements) == 1


async def test_a_testnet_has_none() -> None:
    found = await read(ScriptedExchange(), NOW_MS - DAY_MS)
    assert not found.movements
    assert len(found.problems) > 20
    assert "404" in next(iter(found.problems.values())) or "not in the script" in next(iter(found.problems.values()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SAMPLES: list[tuple[rows_of.Decode, dict[str, Any]]] = [
    (rows_of.decode_deposits, DEPOSIT),
    (rows_of.decode_withdrawals, WITHDRAWAL),
]


@given(st.sampled_from(SAMPLES), st.data())
def test_a_mutated_row_is_read_or_refused(sample: tuple[rows_of.Decode, dict[str, Any]], data: st.DataObject) -> None:
    decode, row = sample
    name = data.draw(st.sampled_from(sorted(row)))
    try:
        movements = list(decode([row | {name: data.draw(JSON)}], 0))
    except (ValueError, PortfolioError, ArithmeticError, TypeError, OverflowError):
        return
    assert all(movement.quantity.is_finite() for movement in movements)
