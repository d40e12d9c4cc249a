"""Which accounts a page of marks moves."""

from decimal import Decimal

from agents.valuation import Valuer
from portfolio import Book, exact_arithmetic, fold, new_book
from streams.records import MarksPage
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
