"""An execution beside the fills: what matches, what differs, what is missing."""

from decimal import Decimal
from typing import Any

import pytest

from infra.postgres.executions import Announced, BookedFill
from streams.executions.comparison import Verdict, compare
from streams.executions.identities import RecentIdentities


def announced(**other: Any) -> Announced:
    said: dict[str, Any] = {
        "account": "main", "identity": "i", "symbol": "BTCUSDT", "side": "BUY", "price": Decimal(60_000),
        "quantity": Decimal("0.50"), "fee": None, "fee_asset": "", "trade_id": 7, "order_id": 70,
        "client_order_id": "", "strategy": "grid", "cycle_id": "", "event_time_us": 1, "source": "",
        "log_offset": 3, "arrived_time_us": 2,
    }  # fmt: skip
    return Announced(**said | other)


def fill(trade_id: int = 7, order_id: int = 70, **other: Any) -> BookedFill:
    has: dict[str, Any] = {"side": "BUY", "price": Decimal("60000.0"), "quantity": Decimal("0.5")}
    return BookedFill(
        account="main", symbol="BTCUSDT", trade_id=trade_id, order_id=order_id, time_us=1, sequence=1, **has | other
    )


def test_the_same_trade_matches_by_value() -> None:
    assert compare(announced(), [fill()]) == (Verdict.MATCHED, [fill()], "")


@pytest.mark.parametrize(
    ("booked", "detail"),
    [
        ({"price": Decimal(60_001)}, "BTCUSDT: price 60000 was announced, the exchange has 60001"),
        ({"quantity": Decimal("0.4")}, "BTCUSDT: quantity 0.5 was announced, the exchange has 0.4"),
        ({"side": "SELL"}, "BTCUSDT: BUY was announced, it was a SELL"),
    ],
)
def test_each_difference_is_named_and_the_fill_is_attributed_all_the_same(booked: dict[str, Any], detail: str) -> None:
    found = compare(announced(), [fill(**booked)])
    assert (found.verdict, found.detail) == (Verdict.DIFFERENT, detail)
    assert found.fills == [fill(**booked)]


def test_of_a_self_trade_each_order_has_its_own_fill() -> None:
    both = [fill(order_id=69, side="SELL"), fill(order_id=70)]
    assert compare(announced(), both).fills == [both[1]]
    assert compare(announced(order_id=71), both).verdict is Verdict.MISSING


@pytest.mark.parametrize(
    ("named", "detail"),
    [
        ({}, "BTCUSDT: the exchange has no trade 7"),
        ({"trade_id": None}, "BTCUSDT: the exchange has no order 70"),
        ({"trade_id": None, "order_id": None, "client_order_id": "c"}, "BTCUSDT: the exchange has no order 'c'"),
        ({"trade_id": None, "order_id": None}, "BTCUSDT: the bot names neither trade nor order, so it cannot"),
    ],
)
def test_without_a_fill_it_says_what_was_looked_for(named: dict[str, Any], detail: str) -> None:
    found = compare(announced(**named), [])
    assert found.verdict is Verdict.MISSING
    assert found.detail.startswith(detail)


def test_an_order_is_one_of_its_fills_or_all_of_them_together() -> None:
    parts = [
        fill(1, price=Decimal(60_000), quantity=Decimal("0.2")),
        fill(2, price=Decimal(61_000), quantity=Decimal("0.3")),
    ]
    by_order = {"trade_id": None}
    assert compare(announced(**by_order, price=Decimal(61_000), quantity=Decimal("0.3")), parts).fills == [parts[1]]
    whole = compare(announced(**by_order, price=Decimal("60600.0001")), parts)
    assert (whole.verdict, whole.fills) == (Verdict.MATCHED, parts)
    assert "quantity 0.6 was announced, the order has 0.5" in compare(
        announced(**by_order, quantity=Decimal("0.6"), price=Decimal(60_500)), parts
    ).detail  # fmt: skip
    assert "not within 60000 to 61000" in compare(announced(**by_order, price=Decimal(59_999)), parts).detail


def test_where_executions_are_booked_the_offset_names_the_fill() -> None:
    assert compare(announced(order_id=None), [fill(3, 0)], is_booked=True).verdict is Verdict.MATCHED


def test_identities_are_kept_within_bounds() -> None:
    known = RecentIdentities(kept_max=2)
    for each in ("a", "b", "a", "c"):
        known.add(each)
    assert [each in known for each in ("a", "b", "c")] == [False, True, True]
