"""Flows: what comes in and goes out other than by a trade, at market value, with its kind."""

from decimal import Decimal

import pytest

from portfolio import FlowKind, MissingRate, fold, new_book, value_book
from tests.support.ledger import apply, deposit, flow, openings

INCOME = {FlowKind.REWARD, FlowKind.AIRDROP, FlowKind.REBATE}


@pytest.mark.parametrize("kind", sorted(INCOME))
def test_income_is_earned(kind: FlowKind) -> None:
    outcome = apply(new_book("main", "USDT"), flow("BNB", "2", kind=kind, rate="300"))
    assert (outcome.book.net_flows, outcome.book.realized) == (0, 600)
    assert outcome.book.symbols["BNBUSDT"].realized == Decimal(600)
    assert outcome.book.returns.inflow == 0


@pytest.mark.parametrize("kind", sorted(set(FlowKind) - INCOME))
def test_everything_else_is_paid_in(kind: FlowKind) -> None:
    book = apply(new_book("main", "USDT"), flow("BNB", "2", kind=kind, rate="300")).book
    assert (book.net_flows, book.realized) == (600, 0)
    assert (book.returns.inflow, book.returns.outflow) == (600, 0)
    assert book.holdings["BNB"].cost == Decimal(600)


def test_a_deposit_of_the_reporting_currency_needs_no_rate() -> None:
    book = apply(new_book("main", "EUR"), flow("EUR", "12.34")).book
    assert book.holdings["EUR"].cost == Decimal("12.34")
    assert book.symbols == {}


def test_a_withdrawal_realizes() -> None:
    """Before: 1 BTC that cost 50000. Half of it leaves at 60000: 30000 paid out, 5000 gained."""
    book = apply(
        new_book("main", "USDT"),
        deposit("BTC", "1", rate="50000"),
        flow("BTC", "-0.5", kind=FlowKind.WITHDRAWAL, rate="60000"),
    ).book
    assert (book.net_flows, book.realized) == (20000, 5000)
    assert (book.returns.inflow, book.returns.outflow) == (50000, 30000)
    assert value_book(book).unrealized == Decimal(5000)
    assert book.symbols["BTCUSDT"].realized == Decimal(5000)
    assert book.symbols["BTCUSDT"].fills == 0


def test_a_withdrawal_of_what_was_never_there() -> None:
    """It is made good first, so that the account ends where it was: in at market, out at market."""
    outcome = apply(new_book("main", "USDT"), flow("BTC", "-0.5", kind=FlowKind.WITHDRAWAL, rate="60000"))
    assert [entry.flow for entry in openings(outcome)] == [Decimal(30000)]
    assert (outcome.book.net_flows, outcome.book.realized, outcome.book.holdings) == (0, 0, {})


def test_a_reward_that_is_taken_back() -> None:
    book = apply(
        new_book("main", "USDT"),
        flow("BNB", "2", kind=FlowKind.REWARD, rate="300"),
        flow("BNB", "-1", kind=FlowKind.REWARD, rate="300", id="flow-2"),
    ).book
    assert (book.net_flows, book.realized) == (0, 300)


def test_a_flow_that_nothing_prices_is_refused() -> None:
    with pytest.raises(MissingRate, match=r'add "rates": \{"SHIB"'):
        fold(new_book("main", "USDT"), [flow("SHIB", "1")])


def test_a_worthless_airdrop() -> None:
    """A rate of zero is a price too: the token is held and costs nothing."""
    book = apply(new_book("main", "USDT"), flow("SCAM", "1000000", kind=FlowKind.AIRDROP, rate="0")).book
    assert (book.holdings["SCAM"].cost, book.realized) == (0, 0)
    assert value_book(book).equity == 0


def test_the_same_flow_twice_is_booked_once() -> None:
    book = apply(new_book("main", "USDT"), flow("BNB", "2.0", rate="300")).book
    outcome = fold(book, [flow("BNB", "2.00", rate="300", second=9)])
    assert outcome.duplicates == 1
    assert outcome.book == book


@pytest.mark.parametrize("other", [flow("BNB", "3", rate="300"), flow("BTC", "2", rate="300")])
def test_the_same_identifier_with_other_content_is_a_conflict(other: object) -> None:
    book = apply(new_book("main", "USDT"), flow("BNB", "2", rate="300")).book
    outcome = fold(book, [other])  # type: ignore[list-item]  # pytest's parameters are objects
    assert (outcome.duplicates, outcome.conflicts) == (0, (other,))
    assert outcome.book == book
