"""Events as Binance documents and sends them become domain events, or the one documented error."""

import contextlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.binance.account_rows import decode_account, decode_trade
from infra.binance.catalogue import Catalogue, Instrument
from infra.binance.decoder import Notice, NoticeKind, ReportedBalances, ReportedFill, ReportedFlow, decode_user_event
from infra.binance.errors import MalformedEvent, UnknownSymbol
from portfolio.events import Balance, ExecutionKind, Fill, FlowKind, Side

SAMPLES = Path(__file__).parents[3] / "fixtures" / "binance"
CATALOGUE = Catalogue(
    {
        "ETHBTC": Instrument(symbol="ETHBTC", base="ETH", quote="BTC"),
        "BTCUSDT": Instrument(symbol="BTCUSDT", base="BTC", quote="USDT"),
    }
)
TIME_US = 1_700_000_000_123_456


def sample(name: str, **changes: object) -> str:
    document = json.loads((SAMPLES / f"{name}_wrapped.json").read_text())
    document["event"] |= changes
    return json.dumps({key: value for key, value in document.items() if value is not None})


def execution(**changes: object) -> Fill:
    fields = {
        "x": "TRADE", "X": "FILLED", "t": 77, "l": "0.50000000", "L": "0.10264410", "Y": "0.05132205",
        "n": "0.00001000", "N": "BNB", "m": True, "T": TIME_US, "E": TIME_US + 5,
    }  # fmt: skip
    decoded = decode_user_event(sample("execution_report", **fields | changes), CATALOGUE)
    assert isinstance(decoded, ReportedFill)
    return decoded.fill


def test_a_trade_is_a_fill() -> None:
    fill = execution()
    assert fill == Fill(
        time_us=TIME_US, symbol="ETHBTC", base="ETH", quote="BTC", side=Side.BUY, price=Decimal("0.10264410"),
        quantity=Decimal("0.5"), quote_quantity=Decimal("0.05132205"), trade_id=77, order_id=4293153,
        fee=Decimal("0.00001"), fee_asset="BNB", maker=True, client_order_id="mUvoqJxFIILMdfAW5iGSOW",
    )  # fmt: skip


def test_milliseconds_and_microseconds_are_told_apart() -> None:
    assert execution(T=1_499_405_658_657).time_us == 1_499_405_658_657_000


def test_a_trade_without_commission_names_no_fee_asset() -> None:
    assert execution(n="0", N=None).fee_asset == ""


def test_an_allocation_of_smart_order_routing_has_its_own_identifier() -> None:
    fill = execution(t=-1, a=1234, b="ONE_PARTY_TRADE_REPORT")
    assert (fill.execution, fill.trade_id) == (ExecutionKind.ALLOCATION, 1234)


def test_a_prevented_match_that_transfers_is_an_execution() -> None:
    fill = execution(
        x="TRADE_PREVENTION",
        X="EXPIRED_IN_MATCH",
        V="TRANSFER",
        t=-1,
        v=3,
        l="0",
        pl="2.123456",
        pL="0.10000001",
        pY="0.21234562",
    )
    assert (fill.execution, fill.trade_id, fill.quantity) == (ExecutionKind.PREVENTION, 3, Decimal("2.123456"))
    assert (fill.price, fill.quote_quantity, fill.fee) == (Decimal("0.10000001"), Decimal("0.21234562"), 0)


@pytest.mark.parametrize("mode", ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"])
def test_what_would_have_been_traded_moves_nothing(mode: str) -> None:
    """Binance tells `pl`, `pL` and `pY` in every mode since 2023; see its CHANGELOG of 2023-12-04."""
    prevented = {"x": "TRADE_PREVENTION", "V": mode, "v": 3, "pl": "2", "pL": "0.1", "pY": "0.2", "l": "0"}
    assert isinstance(decode_user_event(sample("execution_report", **prevented), CATALOGUE), Notice)


def test_a_prevented_match_that_transfers_nothing_moves_nothing() -> None:
    decoded = decode_user_event(sample("execution_report", x="TRADE_PREVENTION", v=3, B="3.0"), CATALOGUE)
    assert isinstance(decoded, Notice)
    assert decoded.kind is NoticeKind.ORDER


def test_a_placed_order_moves_nothing() -> None:
    decoded = decode_user_event(sample("execution_report"), CATALOGUE)
    assert isinstance(decoded, Notice)
    assert (decoded.kind, decoded.name) == (NoticeKind.ORDER, "NEW")


def test_an_account_position_is_a_balance_report_at_the_time_of_the_update() -> None:
    decoded = decode_user_event(sample("account_position"), CATALOGUE)
    assert isinstance(decoded, ReportedBalances)
    assert decoded.report.balances == {"ETH": Balance(Decimal(10_000))}
    assert decoded.report.time_us == 1_564_034_571_073_000
    assert not decoded.report.complete


def test_a_balance_update_is_an_unclassified_flow() -> None:
    decoded = decode_user_event(sample("balance_update", d="-0.5"), CATALOGUE)
    assert isinstance(decoded, ReportedFlow)
    flow = decoded.flow
    assert (flow.asset, flow.quantity, flow.kind) == ("BTC", Decimal("-0.5"), FlowKind.UNCLASSIFIED)
    assert flow.id == "balance-update:1573200697110000:BTC:-0.5"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"e": "externalLockUpdate", "E": 1, "a": "NEO", "d": "10.0", "T": 1}, NoticeKind.EXTERNAL_LOCK),
        ({"e": "serverShutdown", "E": 1_770_123_456_789}, NoticeKind.SERVER_SHUTDOWN),
        ({"e": "eventStreamTerminated", "E": 1}, NoticeKind.STREAM_TERMINATED),
        ({"e": "invented", "E": 1, "z": [1, 2]}, NoticeKind.UNKNOWN),
    ],
)
def test_other_events_are_notices_and_keep_what_came(event: dict[str, Any], kind: NoticeKind) -> None:
    decoded = decode_user_event(json.dumps({"event": event}), CATALOGUE)
    assert isinstance(decoded, Notice)
    assert decoded.kind is kind
    assert json.loads(decoded.raw) == event


def test_an_order_list_is_a_notice() -> None:
    decoded = decode_user_event(sample("list_status"), CATALOGUE)
    assert isinstance(decoded, Notice)
    assert decoded.kind is NoticeKind.ORDER_LIST


def test_an_unlisted_symbol_is_named() -> None:
    with pytest.raises(UnknownSymbol, match="NEWUSDT") as caught:
        execution(s="NEWUSDT")
    assert caught.value.symbol == "NEWUSDT"


TRADE = {
    "symbol": "BTCUSDT", "id": 28457, "orderId": 100234, "price": "4.00000100", "qty": "12.00000000",
    "quoteQty": "48.000012", "commission": "10.10000000", "commissionAsset": "BNB", "time": TIME_US,
    "isBuyer": False, "isMaker": False, "isBestMatch": True,
}  # fmt: skip


def test_a_row_of_my_trades_is_the_same_fill_as_its_event() -> None:
    live = execution(
        s="BTCUSDT",
        S="SELL",
        t=28457,
        i=100234,
        L="4.00000100",
        l="12.00000000",
        Y="48.000012",
        n="10.1",
        m=False,
        c="",
    )
    assert decode_trade(TRADE, CATALOGUE) == live


def test_an_account_is_a_complete_report_without_what_is_zero() -> None:
    rows = [
        {"asset": "BTC", "free": "4723846.89208129", "locked": "1.0"},
        {"asset": "LTC", "free": "0.00000000", "locked": "0.00000000"},
    ]
    report = decode_account({"updateTime": 123_456_789_000, "balances": rows, "canTrade": True})
    assert report.complete
    assert report.balances == {"BTC": Balance(Decimal("4723846.89208129"), Decimal(1))}
    assert report.time_us == 123_456_789_000_000


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=4),
    max_leaves=8,
)
NUMBERS = st.sampled_from(["NaN", "sNaN", "-1", "0", "1e999999999", "1e-999999999", "Infinity", "", "0x10", "1_000"])
NAMES = st.sampled_from(["executionReport", "outboundAccountPosition", "balanceUpdate", "listStatus", "other"])


@given(st.text() | st.binary() | JSON_VALUES.map(json.dumps))
def test_junk_is_the_documented_error_or_a_notice(junk: str | bytes) -> None:
    try:
        decoded = decode_user_event(junk, CATALOGUE)
    except MalformedEvent:
        return
    assert isinstance(decoded, Notice)


@given(
    NAMES,
    st.dictionaries(st.sampled_from("sScxiTlLYnNtavEudBfm"), JSON_VALUES | NUMBERS, max_size=8),
    st.sampled_from(["execution_report", "account_position", "balance_update", "list_status"]),
)
def test_a_damaged_event_is_the_documented_error_or_a_sound_event(
    name: str, damage: dict[str, object], document: str
) -> None:
    changes = {"x": "TRADE", "t": 1, "l": "1", "L": "1"} if document == "execution_report" else {}
    with contextlib.suppress(MalformedEvent, UnknownSymbol):
        decode_user_event(sample(document, **changes | {"e": name} | damage), CATALOGUE)


@given(st.dictionaries(st.sampled_from(sorted(TRADE)), JSON_VALUES | NUMBERS, max_size=6))
def test_a_damaged_row_is_the_documented_error_or_a_sound_fill(damage: dict[str, object]) -> None:
    with contextlib.suppress(MalformedEvent, UnknownSymbol):
        decode_trade(TRADE | damage, CATALOGUE)


@given(JSON_VALUES)
def test_a_damaged_account_is_the_documented_error(junk: object) -> None:
    with pytest.raises(MalformedEvent):
        decode_account(junk)
