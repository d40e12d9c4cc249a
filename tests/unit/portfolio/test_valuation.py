"""Value at a mark, valuation points, and the time-weighted return that they chain."""

from decimal import Decimal

import pytest

from portfolio import FlowKind, Marks, ValuationPoint, amount, new_book, value_book
from portfolio.snapshots import describe_account, describe_balances, describe_open
from tests.support.ledger import DAY_US, START_US, apply, buy, deposit, flow, sell


def point(day: int, **rates: str) -> ValuationPoint:
    return ValuationPoint(rates={asset: amount(rate) for asset, rate in rates.items()}, time_us=START_US + day * DAY_US)


def test_equity_is_quantity_times_mark() -> None:
    book = apply(new_book("main", "USDT"), deposit("USDT", "1000"), buy("2", "100")).book
    value = value_book(book, {"BTC": amount("150")})
    assert (value.equity, value.unrealized, value.total_pnl, value.identity_error) == (1100, 100, 100, 0)


def test_marks_given_for_the_reporting_currency_are_ignored() -> None:
    book = apply(new_book("main", "USDT"), deposit("USDT", "1000")).book
    assert value_book(book, {"USDT": amount("0.5")}).equity == Decimal(1000)


def test_the_last_price_seen_is_the_mark() -> None:
    book = apply(new_book("main", "USDT"), buy("2", "100"), sell("1", "120", number=2)).book
    assert value_book(book).unrealized == Decimal(20)


def test_older_marks_do_not_replace_newer_ones() -> None:
    newer = Marks(rates={"BTC": amount("130")}, time_us=START_US + 9_000_000)
    older = Marks(rates={"BTC": amount("90")}, time_us=START_US + 8_000_000)
    book = apply(new_book("main", "USDT"), buy("1", "100"), newer, older).book
    assert book.marks["BTC"].rate == Decimal(130)


def test_a_holding_without_a_price_is_valued_at_its_cost() -> None:
    book = apply(new_book("main", "USDT"), deposit("BTC", "1", rate="100")).book
    book.marks.clear()
    (line,) = value_book(book).holdings
    assert (line.mark, line.value, line.unrealized) == (None, 100, 0)


def test_a_deposit_is_no_profit_and_a_withdrawal_no_loss() -> None:
    """1 BTC: 100 -> 110 is +10%. Then 890 USDT come in and 500 go out: the index does not move. Then 110 -> 121 of
    the BTC in an account of 500: (511 / 500)."""
    outcome = apply(
        new_book("main", "USDT"),
        deposit("BTC", "1", rate="100"),
        point(0, BTC="100"),
        point(1, BTC="110"),
        deposit("USDT", "890"),
        flow("USDT", "-500", kind=FlowKind.WITHDRAWAL, id="w"),
        point(2, BTC="110"),
        point(3, BTC="121"),
    )
    valuations = [booked.valuation for booked in outcome.booked if booked.valuation]
    assert [valuation.index for valuation in valuations] == [1, Decimal("1.1"), Decimal("1.1"), Decimal("1.1242")]
    assert [(valuation.inflow, valuation.outflow) for valuation in valuations] == [(100, 0), (0, 0), (890, 500), (0, 0)]
    assert [valuation.equity for valuation in valuations] == [100, 110, 500, 511]


def test_drawdown_is_of_the_index() -> None:
    outcome = apply(
        new_book("main", "USDT"),
        deposit("BTC", "1", rate="100"),
        *(point(day, BTC=rate) for day, rate in enumerate(("100", "200", "150", "180"))),
    )
    returns = outcome.book.returns
    assert (returns.index, returns.peak) == (Decimal("1.8"), 2)
    assert (returns.drawdown, returns.max_drawdown) == (Decimal("-0.1"), Decimal("-0.25"))


def test_a_valuation_point_is_valued_at_its_own_rates() -> None:
    """It is the account at its moment: a price that was seen later (a fill of another symbol, published first) has no
    say in it, and keeps its place as the newest mark."""
    outcome = apply(
        new_book("main", "USDT"),
        deposit("BTC", "1", rate="100", second=0),
        Marks(rates={"BTC": amount("130")}, time_us=START_US + 2 * DAY_US),
        point(1, BTC="110"),
    )
    valuation = outcome.booked[-1].valuation
    assert valuation is not None
    assert valuation.equity == Decimal(110)
    assert outcome.book.marks["BTC"].rate == Decimal(130)


def test_what_was_missing_is_paid_in_and_no_return() -> None:
    """1 BTC that nobody knew of is sold for 100. The account is worth 100 more and has earned nothing."""
    book = apply(new_book("main", "USDT"), deposit("USDT", "50"), point(0), sell("1", "100"), point(1)).book
    assert (book.returns.index, book.returns.last_equity) == (1, 150)


def test_an_account_that_is_empty_has_no_return() -> None:
    book = apply(new_book("main", "USDT"), point(0), point(1)).book
    assert (book.returns.index, book.returns.last_equity) == (1, 0)


def test_total_loss() -> None:
    book = apply(
        new_book("main", "USDT"), deposit("LUNA", "1", rate="100"), point(0, LUNA="100"), point(1, LUNA="0")
    ).book
    assert (book.returns.index, book.returns.max_drawdown) == (0, -1)


def test_growth_without_bound_does_not_stop_the_ledger() -> None:
    events = [point(day, BTC=("1", "9" * 24)[day % 2]) for day in range(1, 20)]
    book = apply(new_book("main", "USDT"), deposit("BTC", "1", rate="0.000000000000000000000001"), *events).book
    assert book.returns.peak > Decimal("1E+40")


@pytest.mark.parametrize("mark", ["100", "0.000000000000000001", "0"])
def test_snapshots_tell_what_the_book_says(mark: str) -> None:
    book = apply(new_book("main", "USDT"), deposit("USDT", "1000"), buy("2", "100", fee="0.5 USDT")).book
    value = value_book(book, {"BTC": amount(mark)})
    account = describe_account(book, value, valued_time_us=5)
    assert account.equity == account.net_flows + account.realized + account.unrealized
    assert account.total_pnl == account.realized + account.unrealized
    (position,) = describe_open(book, value)
    assert (position.entry_price, position.mark, position.cost) == (100, amount(mark), 200)
    balances = {balance.asset: balance for balance in describe_balances(book, value)}
    assert balances["BTC"].value == 2 * amount(mark)
    assert balances["USDT"].free is None
