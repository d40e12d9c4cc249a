"""Which accounts a page of marks moves."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from agents.valuation import Valuer
from portfolio import Book, exact_arithmetic, fold, new_book
from portfolio.money import INTEGER_DIGITS_MAX, PLACES_MAX
from streams.records import MarksPage, UnreadableRecord, marks_pages
from tests.support.worker import TIME_US, fill


def book(account: str, symbol: str = "BTC") -> Book:
    return fold(new_book(account, "USDT"), [fill(1, symbol=symbol)]).book


def page(**rates: str) -> MarksPage:
    return MarksPage(time_us=TIME_US + 5, rates={"USDT": {asset: Decimal(rate) for asset, rate in rates.items()}})


def test_an_account_is_valued_exactly_at_the_marks() -> None:
    books = {"main": book("main")}
    (record,) = Valuer(1.0).value(books, page(BTC="70000.123456789012345678"), now_s=10.0)
    snapshot = record.snapshot
    assert record.cause == "marks"
    assert snapshot.valued_time_us == TIME_US + 5
    assert snapshot.marks["BTC"] == Decimal("70000.123456789012345678")
    with exact_arithmetic():
        assert snapshot.equity == Decimal("0.01234567") * Decimal("70000.123456789012345678")
        assert snapshot.equity == snapshot.net_flows + snapshot.realized + snapshot.unrealized


def test_only_accounts_whose_holdings_moved_are_valued() -> None:
    books = {"bitcoin": book("bitcoin"), "ether": book("ether", "ETH")}
    valuer = Valuer(1.0)
    assert [r.snapshot.account for r in valuer.value(books, page(ETH="3000"), 10.0)] == ["ether"]
    assert [r.snapshot.account for r in valuer.value(books, page(ETH="3000", BTC="7"), 20.0)] == ["bitcoin"]
    assert valuer.value(books, page(DOGE="1"), 30.0) == []


def test_an_account_is_valued_once_in_an_interval_and_the_last_move_is_not_lost() -> None:
    books = {"main": book("main")}
    valuer = Valuer(1.0)
    assert valuer.value(books, page(BTC="1"), 10.0)
    assert not valuer.value(books, page(BTC="2"), 10.9)
    (record,) = valuer.value(books, page(BTC="2"), 11.1)
    assert record.snapshot.marks["BTC"] == 2


def test_other_reporting_currencies_move_nothing() -> None:
    marks = MarksPage(time_us=TIME_US, rates={"EUR": {"BTC": Decimal(1)}})
    assert Valuer(1.0).value({"main": book("main")}, marks, 10.0) == []


def test_the_largest_numbers_that_are_let_in_can_be_valued() -> None:
    """What passes the reader must not stop the worker: every product of two such numbers is exact."""
    digits = "9" * INTEGER_DIGITS_MAX + "." + "9" * PLACES_MAX
    absurd = replace(fill(1), price=Decimal(1), quantity=Decimal(digits), fee=Decimal(0))
    books = {"absurd": fold(new_book("absurd", "USDT"), [absurd]).book, "fine": book("fine")}

    largest, fine = Valuer(1.0).value(books, page(BTC=digits), 10.0)

    with exact_arithmetic():
        assert largest.snapshot.unrealized == Decimal(digits) * Decimal(digits) - Decimal(digits)
    assert fine.snapshot.account == "fine"


@pytest.mark.parametrize("rate", ["NaN", "sNaN", "Infinity", "-1", "1e400", "1e-400", "1e9999999999", "x"])
def test_a_rate_that_is_no_price_is_unreadable(rate: str) -> None:
    data = marks_pages.encode(page(BTC="1")).replace(b'"1"}', b'"%s"}' % rate.encode())
    with pytest.raises(UnreadableRecord):
        marks_pages.decode(data)


@pytest.mark.parametrize("time_us", [-1, 0, 1_700_000_000_000, 4_200_000_000_000_000, 10**30])
def test_marks_of_no_plausible_time_are_unreadable(time_us: int) -> None:
    data = marks_pages.encode(page(BTC="1")).replace(str(TIME_US + 5).encode(), str(time_us).encode())
    with pytest.raises(UnreadableRecord):
        marks_pages.decode(data)


def test_pages_of_several_gateways_complement_one_another() -> None:
    """Each gateway publishes the marks of what its own accounts hold; neither may take the other's marks away."""
    both = fold(new_book("main", "USDT"), [fill(1, symbol="BTC"), fill(2, symbol="ETH")]).book
    valuer = Valuer(1.0)
    valuer.value({"main": both}, page(BTC="70000", ETH="3000"), 10.0)
    (record,) = valuer.value({"main": both}, page(BTC="71000"), 12.0)
    assert (record.snapshot.marks["BTC"], record.snapshot.marks["ETH"]) == (71000, 3000)


def test_a_mark_that_does_not_move_any_more_is_told_with_its_time_until_it_does() -> None:
    books = {"main": book("main")}
    valuer = Valuer(1.0)
    stale = replace(page(BTC="70000"), stale={"USDT": {"BTC": TIME_US - 7, "LUNA": 0}})
    (before,) = valuer.value(books, page(BTC="70000"), 10.0)
    (halted,) = valuer.value(books, stale, 20.0)
    assert (before.stale_marks, halted.stale_marks) == ({}, {"BTC": TIME_US - 7})
    assert halted.snapshot.marks["BTC"] == 70000
    # A page of another gateway says nothing about it.
    assert not valuer.value(books, page(ETH="3000"), 30.0)
    (again,) = valuer.value(books, page(BTC="70000"), 40.0)
    assert again.stale_marks == {}


def test_an_asset_without_any_market_is_told_too() -> None:
    marks = MarksPage(time_us=TIME_US, rates={"USDT": {"ETH": Decimal(1)}}, stale={"USDT": {"BTC": 0}})
    (record,) = Valuer(1.0).value({"main": book("main")}, marks, 10.0)
    assert record.stale_marks == {"BTC": 0}
    assert record.snapshot.marks["BTC"] == Decimal("60001.12"), "the last price that the book itself has seen"
