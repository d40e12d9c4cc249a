"""Delivered at least once, booked exactly once."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from portfolio import (
    Balance,
    BalanceReport,
    Event,
    ExecutionKind,
    Fill,
    LogPosition,
    Marks,
    ValuationPoint,
    amount,
    encode_book,
    fold,
    new_book,
)
from tests.support.ledger import START_US, apply, buy, deposit, sell

BOOK = new_book("main", "USDT")


@pytest.mark.parametrize("again", [buy("1", "50", number=3), buy("1.00", "50.0", number=3), buy("1", "50", number=2)])
def test_a_fill_seen_before_changes_nothing(again: Fill) -> None:
    """The same, the same written otherwise, or one with an older id."""
    book = apply(BOOK, buy("1", "50", number=3)).book
    outcome = fold(book, [again])
    assert (outcome.duplicates, outcome.booked, outcome.conflicts) == (1, (), ())
    assert encode_book(outcome.book) == encode_book(book)


@pytest.mark.parametrize(
    "other",
    [
        buy("2", "50", number=3),
        buy("1", "51", number=3),
        sell("1", "50", number=3),
        buy("1", "50", number=3, fee="0.1 USDT"),
    ],
)
def test_the_same_id_with_other_content_is_a_conflict(other: Fill) -> None:
    book = apply(BOOK, buy("1", "50", number=3)).book
    outcome = fold(book, [other])
    assert outcome.conflicts == (other,)
    assert outcome.duplicates == 0
    assert outcome.book == book


def test_a_self_trade_has_one_trade_id_and_two_orders() -> None:
    both = [buy("1", "50", number=3, order=10), sell("1", "50", number=3, order=11)]
    book = apply(BOOK, deposit("USDT", "50"), *both).book
    assert book.symbols["BTCUSDT"].fills == 2
    assert book.holdings["USDT"].quantity == Decimal(50)
    assert fold(book, both).duplicates == 2


def test_kinds_of_execution_have_ids_of_their_own() -> None:
    """An allocation of smart order routing and a prevented match move balances; their ids are not trade ids."""
    trade = buy("1", "50", number=7)
    events = [
        replace(trade, execution=kind, trade_id=number) for kind, number in zip(ExecutionKind, (7, 2, 5), strict=True)
    ]
    book = apply(BOOK, *events).book
    assert book.holdings["BTC"].quantity == Decimal(3)
    assert fold(book, events).duplicates == 3


def test_symbols_have_ids_of_their_own() -> None:
    events = [buy("1", "50", number=7), buy("1", "5", symbol="ETHUSDT", number=2)]
    assert apply(BOOK, *events).book.sequence == 2


def test_duplicates_within_a_page() -> None:
    fills = [buy("1", "50", number=number) for number in (1, 2, 2, 1, 3)]
    outcome = fold(BOOK, fills)
    assert (outcome.duplicates, outcome.book.sequence) == (2, 3)


def test_a_record_of_the_log_that_was_folded_before_changes_nothing() -> None:
    """Read again after a crash, a record may carry what has no identifier: marks, balances, a valuation point. They
    must not count twice, or the book would differ from one rebuilt from the log."""
    record: list[Event] = [
        deposit("USDT", "100"),
        Marks(rates={"BTC": amount("60")}, time_us=START_US),
        BalanceReport(balances={"USDT": Balance(amount("100"))}, time_us=START_US),
        ValuationPoint(rates={"BTC": amount("60")}, time_us=START_US),
    ]
    position = LogPosition(partition=3, offset=17)
    book = fold(BOOK, record, position=position).book
    assert book.sequence == 4
    for seen in (position, LogPosition(partition=3, offset=16)):
        outcome = fold(book, record, position=seen)
        assert (outcome.duplicates, outcome.booked) == (4, ())
        assert encode_book(outcome.book) == encode_book(book)


def test_the_next_record_and_another_partition_are_new() -> None:
    book = fold(BOOK, [deposit("USDT", "100")], position=LogPosition(3, 17)).book
    for position in (LogPosition(3, 18), LogPosition(4, 0)):
        outcome = fold(book, [buy("1", "50")], position=position)
        assert outcome.book.sequence == 2
        assert outcome.book.position == position
