"""Fees: expensed when paid, at market value, out of the holding that they are paid from."""

from decimal import Decimal

import pytest

from portfolio import Book, new_book
from tests.support.ledger import apply, buy, deposit, openings, sell


@pytest.fixture
def funded() -> Book:
    """100000 USDT, and 10 BNB that cost 200 each."""
    return apply(new_book("main", "USDT"), deposit("USDT", "100000"), deposit("BNB", "10", rate="200")).book


def test_in_the_quote_of_a_buy(funded: Book) -> None:
    book = apply(funded, buy("1", "50000", fee="50 USDT")).book
    assert book.holdings["USDT"].quantity == Decimal(49950)
    assert book.holdings["BTC"].cost == Decimal(50000)
    assert (book.realized, book.fees, book.fees_by_asset) == (-50, 50, {"USDT": 50})


def test_in_the_quote_of_a_sale(funded: Book) -> None:
    """It is paid out of the proceeds: 51000 come in, 51 go. 1000 gained, 51 paid."""
    outcome = apply(funded, buy("1", "50000"), sell("1", "51000", number=2, fee="51 USDT"))
    assert outcome.book.realized == Decimal(949)
    assert openings(outcome) == []
    (closed,) = outcome.booked[1].closed
    assert (closed.realized, closed.fees) == (949, 51)


def test_proceeds_pay_the_fee_also_of_an_empty_account() -> None:
    """Selling what was never bought: BTC is missing, the USDT of the fee is not."""
    outcome = apply(new_book("main", "USDT"), sell("1", "51000", fee="51 USDT"))
    assert [entry.postings[0].asset for entry in openings(outcome)] == ["BTC"]
    assert outcome.book.realized == Decimal(-51)


def test_in_the_base_of_a_buy(funded: Book) -> None:
    """Buy 1 BTC at 50000, fee 0.001 BTC. 0.999 is held, at the fill's price: 49950; the other 50 is the expense."""
    book = apply(funded, buy("1", "50000", fee="0.001 BTC")).book
    holding = book.holdings["BTC"]
    assert (holding.quantity, holding.cost) == (Decimal("0.999"), Decimal(49950))
    assert holding.average_cost == Decimal(50000)
    assert (book.realized, book.fees, book.fees_by_asset) == (-50, 50, {"BTC": Decimal("0.001")})


def test_a_round_trip_gains_what_the_wallet_gained(funded: Book) -> None:
    """50000 out, 0.999 x 52000 - 51.948 in: 1896.052. The position says the same."""
    outcome = apply(funded, buy("1", "50000", fee="0.001 BTC"), sell("0.999", "52000", number=2, fee="51.948 USDT"))
    gained = outcome.book.holdings["USDT"].quantity - Decimal(100000)
    assert gained == outcome.book.realized == Decimal("1896.052")
    (closed,) = outcome.booked[1].closed
    assert closed.realized == gained
    assert (closed.entry_price(), closed.exit_price) == (50000, 52000)


def test_in_a_third_asset(funded: Book) -> None:
    """Fee 0.1 BNB, worth 300 each, cost 200 each: 30 expensed by the trade, 10 gained on the BNB itself."""
    book = apply(funded, buy("1", "50000", fee="0.1 BNB", rates={"BNB": "300"})).book
    assert book.holdings["BNB"].quantity == Decimal("9.9")
    assert book.holdings["BNB"].cost == Decimal(1980)
    assert (book.realized, book.fees) == (-20, 30)
    bitcoin, coin = book.holdings["BTC"].position, book.holdings["BNB"].position
    assert bitcoin is not None
    assert coin is not None
    assert (bitcoin.realized, bitcoin.fees) == (-30, 30)
    assert (coin.realized, coin.fees) == (10, 0)
    assert book.symbols["BTCUSDT"].realized == Decimal(-20)


def test_in_a_third_asset_that_was_never_bought() -> None:
    """The BNB comes in at market as an opening flow and opens no position: it is there only to be paid."""
    outcome = apply(new_book("main", "USDT"), buy("1", "50000", fee="0.1 BNB", rates={"BNB": "300"}))
    assert [(entry.postings[0].asset, entry.flow) for entry in openings(outcome)] == [("USDT", 50000), ("BNB", 30)]
    assert outcome.book.realized == Decimal(-30)
    assert list(outcome.book.holdings) == ["BTC"]
    assert not outcome.booked[0].closed


def test_in_a_third_asset_of_which_too_little_is_held(funded: Book) -> None:
    """The missing 2 BNB enter the position that pays them: its entries less what left is what it holds, and it is
    flagged like any other acquisition that is missing."""
    outcome = apply(funded, buy("1", "50000", fee="12 BNB", rates={"BNB": "300"}))
    (closed,) = outcome.booked[0].closed
    assert closed.asset == "BNB"
    assert closed.missing_quantity == Decimal(2)
    assert closed.entry_quantity == Decimal(12)
    assert closed.entry_value == Decimal(2600)
    assert closed.quantity == 0


def test_in_bnb_while_buying_bnb() -> None:
    book = apply(new_book("main", "USDT"), buy("1", "300", symbol="BNBUSDT", fee="0.00075 BNB")).book
    assert book.holdings["BNB"].quantity == Decimal("0.99925")
    assert book.realized == Decimal("-0.225")


def test_in_the_base_while_selling_all_of_it(funded: Book) -> None:
    """1 BTC held and sold, 0.001 BTC more to pay: the fee is missing, at market; the round trip still closes."""
    outcome = apply(funded, buy("1", "50000"), sell("1", "50000", number=2, fee="0.001 BTC"))
    (closed,) = outcome.booked[1].closed
    assert (closed.missing_quantity, closed.realized) == (Decimal("0.001"), -50)
    assert "BTC" not in outcome.book.holdings


def test_of_a_trade_between_cash_assets_no_position_bears_it() -> None:
    outcome = apply(new_book("main", "USDT"), buy("100", "1", symbol="USDCUSDT", fee="0.1 USDC"))
    assert (outcome.book.realized, outcome.book.fees) == (Decimal("-0.1"), Decimal("0.1"))
    assert all(holding.position is None for holding in outcome.book.holdings.values())


def test_the_quote_bears_it_when_the_base_is_cash() -> None:
    """Selling USDC for BTC: BTC is what is in a position."""
    book = apply(
        new_book("main", "USDT"),
        sell("50000", "0.00002", symbol="USDC/BTC", fee="0.001 BTC", rates={"BTC": "50000"}),
    ).book
    position = book.holdings["BTC"].position
    assert position is not None
    assert position.fees == Decimal(50)
