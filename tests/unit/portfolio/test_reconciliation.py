"""The book against the exchange: differences, and the reason that the figures name."""

from decimal import Decimal

import pytest

from portfolio import Balance, BalanceReport, Book, DifferenceReason, amount, new_book, plain, reconcile
from tests.support.ledger import START_US, apply, buy, deposit

REPORT_US = START_US + 100_000_000


def report(complete: bool = False, time_us: int = REPORT_US, **totals: str) -> BalanceReport:
    return BalanceReport(
        balances={asset: Balance(amount(total)) for asset, total in totals.items()},
        complete=complete,
        time_us=time_us,
    )


@pytest.fixture
def book() -> Book:
    """0.5 BTC, 70000 USDT, 10 BNB."""
    return apply(
        new_book("main", "USDT"),
        deposit("USDT", "100000"),
        deposit("BNB", "10", rate="600"),
        buy("0.5", "60000", number=3),
    ).book


def told(book: Book, event: BalanceReport) -> dict[str, tuple[str, DifferenceReason]]:
    return {
        difference.asset: (plain(difference.difference), difference.reason)
        for difference in reconcile(apply(book, event).book)
    }


def test_agreement_is_silent(book: Book) -> None:
    assert told(book, report(complete=True, BTC="0.5", USDT="70000", BNB="10")) == {}


def test_locked_counts() -> None:
    book = apply(new_book("main", "USDT"), deposit("USDT", "100")).book
    event = BalanceReport(balances={"USDT": Balance(amount("60"), amount("40"))}, time_us=REPORT_US)
    assert told(book, event) == {}


def test_one_asset_alone_is_an_unclassified_flow(book: Book) -> None:
    assert told(book, report(BTC="0.7", USDT="70000", BNB="10")) == {"BTC": ("0.2", DifferenceReason.UNCLASSIFIED_FLOW)}


def test_a_trade_that_the_log_has_not_seen(book: Book) -> None:
    """0.1 BTC more and 6010 USDT less: within a twentieth of the same value."""
    assert told(book, report(BTC="0.6", USDT="63990", BNB="10")) == {
        "BTC": ("0.1", DifferenceReason.MISSING_FILL),
        "USDT": ("-6010", DifferenceReason.MISSING_FILL),
    }


def test_a_missing_trade_of_everything_held_is_no_wipe() -> None:
    """The commonest account: one coin and the quote. Missing one fill changes both, which is all that is held."""
    book = apply(new_book("main", "USDT"), deposit("USDT", "100000"), buy("0.5", "60000", number=3)).book
    assert {reason for _, reason in told(book, report(BTC="0.6", USDT="64000")).values()} == {
        DifferenceReason.MISSING_FILL
    }


def test_the_fee_of_a_missing_trade_is_no_wipe(book: Book) -> None:
    """Every holding moved, but two of them as a trade does: the exchange was not reset."""
    reasons = told(book, report(BTC="0.6", USDT="64000", BNB="9.99"))
    assert reasons["BNB"] == ("-0.01", DifferenceReason.UNCLASSIFIED_FLOW)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(report(complete=True), id="to nothing"),
        pytest.param(report(complete=True, BTC="1", USDT="500000", BNB="1000"), id="to what everybody starts with"),
    ],
)
def test_a_testnet_wipe(book: Book, after: BalanceReport) -> None:
    assert {reason for _, reason in told(book, after).values()} == {DifferenceReason.WIPE}


def test_an_earn_lock(book: Book) -> None:
    assert told(book, report(BTC="0.3", LDBTC="0.2", USDT="70000", BNB="10")) == {
        "BTC": ("-0.2", DifferenceReason.EARN_LOCK),
        "LDBTC": ("0.2", DifferenceReason.EARN_LOCK),
    }


def test_a_complete_report_speaks_of_what_it_does_not_list(book: Book) -> None:
    assert told(book, report(complete=True, BTC="0.5", USDT="70000")) == {
        "BNB": ("-10", DifferenceReason.UNCLASSIFIED_FLOW)
    }
    assert told(book, report(BTC="0.5", USDT="70000")) == {}


def test_a_report_that_comes_late_does_not_undo_a_newer_one(book: Book) -> None:
    newer = apply(book, report(BTC="0.5")).book
    assert reconcile(apply(newer, report(BTC="9", time_us=REPORT_US - 1)).book) == ()


def test_a_difference_is_shown_and_never_booked(book: Book) -> None:
    after = apply(book, report(BTC="0.7")).book
    assert after.holdings == book.holdings
    assert (after.net_flows, after.realized) == (book.net_flows, book.realized)
    (difference,) = reconcile(after)
    assert (difference.ledger, difference.exchange) == (Decimal("0.5"), Decimal("0.7"))
    assert difference.time_us == REPORT_US
