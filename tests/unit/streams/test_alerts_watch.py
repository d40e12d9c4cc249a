"""The watch takes in what it has not seen, and leaves out what nobody could have written."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from portfolio.alerts.defaults import DEFAULT_RULES
from portfolio.alerts.rules import Drawdown
from portfolio.money import ZERO
from portfolio.snapshots import AccountSnapshot
from streams.alerts.records import decode_view, view_output
from streams.alerts.sources import prices_in
from streams.alerts.watch import OBSERVED, Watch
from streams.records import PnlRecord, pnl_records
from streams.topics import DEAD_LETTERS, PNL

TIME_US = 1_700_000_000_000_000


def snapshot(**changes: Any) -> AccountSnapshot:
    zeros: dict[str, Any] = dict.fromkeys(
        ("equity", "net_flows", "realized", "unrealized", "total_pnl", "fees", "drawdown", "max_drawdown"), ZERO
    )
    return AccountSnapshot(
        **zeros
        | {
            "account": "main", "reporting": "USDT", "sequence": 1, "position": None, "event_time_us": TIME_US,
            "valued_time_us": TIME_US, "twr_index": Decimal(1), "marks": {},
        }
        | changes
    )  # fmt: skip


def on_topic(value: bytes | None, offset: int, topic: str = PNL.name) -> Any:
    return SimpleNamespace(topic=topic, partition=0, offset=offset, value=value, key=b"main")


def pnl(offset: int, **changes: Any) -> Any:
    return on_topic(pnl_records.encode(PnlRecord(cause="marks", snapshot=snapshot(**changes))), offset)


def drawdowns(watch: Watch) -> list[str]:
    return [alert.status.value for alert in watch.evaluate(TIME_US)]


def test_a_view_that_was_kept_goes_on_where_it_was() -> None:
    rules = {"deep": Drawdown(percent=Decimal(10))}
    before = Watch(rules)
    before.observe(pnl(4, drawdown=Decimal("-0.2"), marks={"BTC": Decimal("60000.123")}))
    [watched] = before.changed_views()
    assert before.changed_views() == []
    kept = decode_view(view_output(watched).value)
    assert kept == watched
    after = Watch(rules)
    after.restore(kept)
    # Read again from an older place: it was seen. What comes after it was not.
    after.observe(pnl(4, drawdown=ZERO))
    assert drawdowns(after) == ["raised"]
    after.observe(pnl(5, drawdown=ZERO))
    assert drawdowns(after) == ["cleared"]


def test_what_was_kept_by_another_version_is_made_anew() -> None:
    assert decode_view(b'{"version": 9}') is None
    assert decode_view(b"\xff") is None


@pytest.mark.parametrize("spec", OBSERVED, ids=lambda spec: spec.name)
@pytest.mark.parametrize("value", [None, b"", b"\xff", b"{}", b"[" * 100_000, b'{"schema": "pnl", "cause": "marks"}'])
def test_a_strangers_record_is_left_out(spec: Any, value: bytes | None) -> None:
    watch = Watch(DEFAULT_RULES)
    watch.observe(on_topic(value, 1, spec.name))
    assert watch.accounts == ()
    assert watch.evaluate(TIME_US) == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1E+1000", "sNaN"])
@pytest.mark.parametrize("field", ["equity", "total_pnl", "drawdown", "mark"])
def test_a_number_that_is_none_is_left_out_and_the_next_record_is_not(number: str, field: str) -> None:
    watch = Watch(DEFAULT_RULES | {"deep": Drawdown(percent=Decimal(10))})
    changes = {"marks": {"BTC": Decimal(number)}} if field == "mark" else {field: Decimal(number)}
    watch.observe(pnl(1, **changes))
    assert watch.evaluate(TIME_US) == []
    watch.observe(pnl(2, drawdown=Decimal("-0.3")))
    assert drawdowns(watch) == ["raised"]


def test_dead_letters_concern_no_account() -> None:
    watch = Watch(DEFAULT_RULES)
    letter = {
        "schema": "dead-letter", "topic": "portfolio.account-events", "partition": 0, "offset": 1, "reason": "no JSON",
        "time_us": TIME_US, "key": None, "value": None,
    }  # fmt: skip
    watch.observe(on_topic(msgspec.json.encode(letter), 1, DEAD_LETTERS.name))
    [alert] = watch.evaluate(TIME_US + 1)
    assert (alert.rule, alert.account, alert.subject) == ("dead-letters", "", "portfolio.account-events")


def test_prices_of_the_reporting_currency_are_taken_and_what_is_none_is_left_out() -> None:
    prices = {"BTCUSDT": "60000.5", "ETHBTC": "0.05", "USDT": "1", "XUSDT": "many", "YUSDT": "NaN"}
    assert prices_in(prices, "USDT") == {"BTC": Decimal("60000.5")}
