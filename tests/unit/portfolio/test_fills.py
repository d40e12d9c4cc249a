"""Fills in double entry: before, event, after. What comes in costs what was given up; what goes out realizes."""

from decimal import Decimal

import pytest

from portfolio import Book, EntryKind, MissingRate, Posting, Side, fold, new_book, value_book
from portfolio.errors import InvalidEvent
from tests.support.ledger import apply, buy, deposit, fill, openings, sell


def held(book: Book, asset: str) -> tuple[str, str]:
    holding = book.holdings[asset]
    return format(holding.quantity.normalize(), "f"), format(holding.cost.normalize(), "f")


@pytest.fixture
def funded() -> Book:
    """1000 USDT."""
    return apply(new_book("main", "USDT"), deposit("USDT", "1000")).book


def test_acquire(funded: Book) -> None:
    """Before: 1000 USDT. Buy 2 BTC at 100. After: 800 USDT; 2 BTC that cost the 200 given up. Nothing is realized."""
    outcome = apply(funded, buy("2", "100"))
    assert held(outcome.book, "USDT") == ("800", "800")
    assert held(outcome.book, "BTC") == ("2", "200")
    assert outcome.book.realized == 0
    (entry,) = outcome.booked[0].entries
    assert entry.kind is EntryKind.FILL
    assert entry.postings == (
        Posting("USDT", Decimal(-200), Decimal(-200), Decimal(-200)),
        Posting("BTC", Decimal(2), Decimal(200), Decimal(200)),
    )


def test_dispose_takes_cost_in_proportion(funded: Book) -> None:
    """Before: 1 BTC at 100 and 1 at 200, cost 300. Sell 0.5 at 400: a quarter of the cost, 75, leaves; 125 gained."""
    book = apply(funded, buy("1", "100"), buy("1", "200", number=2), sell("0.5", "400", number=3)).book
    assert held(book, "BTC") == ("1.5", "225")
    assert book.realized == Decimal(125)
    assert book.symbols["BTCUSDT"].realized == Decimal(125)


def test_what_is_cut_off_stays(funded: Book) -> None:
    """A third of 100 has no end. 24 places leave with the part sold, the rest stays, and at zero nothing is left."""
    book = apply(funded, buy("3", "33.333333333333333333333333", number=1)).book
    parts = apply(book, *(sell("1", "50", number=number) for number in (2, 3))).book
    assert parts.holdings["BTC"].quantity == 1
    flat = apply(parts, sell("1", "50", number=4)).book
    assert "BTC" not in flat.holdings
    assert flat.realized == Decimal("50.000000000000000000000001")


def test_the_quote_quantity_of_the_exchange_is_what_moved(funded: Book) -> None:
    """Price times quantity is 33.333; the exchange moved 33.34. Cash truth decides."""
    book = apply(funded, buy("0.33333", "100", quote_quantity="33.34")).book
    assert held(book, "USDT") == ("966.66", "966.66")
    assert held(book, "BTC") == ("0.33333", "33.34")


def test_a_quote_quantity_that_rounds_to_nothing(funded: Book) -> None:
    """Dust at a tiny price: the exchange moved 0.00000000 of the quote. The asset cost nothing."""
    book = apply(funded, buy("0.00000001", "0.01", quote_quantity="0")).book
    assert held(book, "BTC") == ("0.00000001", "0")
    assert apply(book, sell("0.00000001", "0.01", number=2, quote_quantity="0")).book.holdings.keys() == {"USDT"}


def test_a_sale_for_nothing_of_an_empty_account() -> None:
    book = apply(new_book("main", "USDT"), sell("1", "0.00000001", quote_quantity="0")).book
    assert book.holdings == {}
    assert book.realized == 0


def test_reporting_currency_as_base() -> None:
    """USDTTRY in a USDT book: buying 100 USDT for 3300 TRY. The reporting side is worth 100; so was the TRY given."""
    book = new_book("main", "USDT")
    outcome = apply(book, deposit("TRY", "3300", rate="0.031"), buy("100", "33", symbol="USDTTRY"))
    assert held(outcome.book, "USDT") == ("100", "100")
    assert "TRY" not in outcome.book.holdings
    assert outcome.book.realized == Decimal("-2.3")  # 3300 TRY cost 102.3 and fetched 100
    assert outcome.book.marks["TRY"].rate == Decimal("0.030303030303030303")


def test_a_trade_between_two_assets_of_which_none_is_the_reporting_currency() -> None:
    """Before: 1 BTC that cost 50000. Buy 10 ETH at 0.05 BTC while a BTC is worth 60000: half the BTC goes for 30000,
    5000 over its cost, and the ETH cost 30000. The gain belongs to ETHBTC."""
    book = apply(
        new_book("main", "USDT"),
        deposit("BTC", "1", rate="50000"),
        buy("10", "0.05", symbol="ETHBTC", rates={"BTC": "60000"}),
    ).book
    assert held(book, "BTC") == ("0.5", "25000")
    assert held(book, "ETH") == ("10", "30000")
    assert book.realized == Decimal(5000)
    assert book.symbols["ETHBTC"].realized == Decimal(5000)
    assert book.symbols["ETHBTC"].volume == Decimal(30000)
    assert (book.marks["BTC"].rate, book.marks["ETH"].rate) == (60000, 3000)


def test_the_rate_of_the_base_serves_when_the_quote_has_none() -> None:
    book = apply(new_book("main", "USDT"), buy("10", "0.05", symbol="ETHBTC", rates={"ETH": "3000"})).book
    assert held(book, "ETH") == ("10", "30000")
    assert book.marks["BTC"].rate == Decimal(60000)


def test_a_fill_that_nothing_prices_is_refused_with_the_remedy() -> None:
    with pytest.raises(MissingRate, match=r'add "rates": \{"BTC": <price of 1 BTC in USDT>\}') as caught:
        fold(new_book("main", "USDT"), [buy("1", "50000", symbol="LTCUSDT"), buy("10", "0.05", symbol="ETHBTC")])
    assert (caught.value.asset, caught.value.index) == ("BTC", 1)


def test_the_last_known_price_serves_with_a_warning() -> None:
    outcome = apply(new_book("main", "USDT"), buy("1", "50000"), buy("10", "0.05", symbol="ETHBTC", number=2))
    assert held(outcome.book, "ETH") == ("10", "25000")
    assert any("valued at the last known price, 50000 USDT" in warning for warning in outcome.warnings)


@pytest.mark.parametrize("side", list(Side))
def test_prices_that_derive_from_one_another_stay_exact(side: Side) -> None:
    """Each coin is priced in the one before, with 24 places: unrounded, the rate grew by 24 places with every link."""
    rates = {"A0": "0.123456789012345678901234"}
    book = new_book("main", "USDT")
    for link in range(40):
        name = f"A{link + 1}/A{link}"
        event = fill(side, "1.000000000000000000000001", "0.999999999999999999999999", symbol=name, rates=rates)
        book = apply(book, event).book
        rates = {}
    assert book.marks["A40"].rate.as_tuple().exponent >= -24  # type: ignore[operator]  # finite


def test_a_price_beyond_all_rates_is_an_invalid_event() -> None:
    event = buy("1", "9" * 20, symbol="ETHBTC", rates={"BTC": "9" * 20})
    with pytest.raises(InvalidEvent, match="price times rate"):
        fold(new_book("main", "USDT"), [event])


def test_never_bought() -> None:
    """An empty account sells 1 BTC for 60000: it must have had one. It enters at 60000, so nothing is gained, and the
    position and a warning say that the acquisition is missing."""
    outcome = apply(new_book("main", "USDT"), sell("1", "60000"))
    assert outcome.book.realized == 0
    assert outcome.book.net_flows == Decimal(60000)
    assert [(entry.symbol, entry.flow) for entry in openings(outcome)] == [("BTCUSDT", Decimal(60000))]
    assert outcome.warnings == (
        "missing acquisition: 1 BTC went out that no event explains; booked as an opening flow of 60000 USDT",
    )
    (closed,) = outcome.booked[0].closed
    assert closed.missing_quantity == 1
    assert closed.realized == 0


def test_partly_missing() -> None:
    """Before: 0.4 BTC that cost 20000. Sell 1 at 60000: 0.6 is missing, 36000. Gain: 24000 for the 0.4 less 20000."""
    outcome = apply(new_book("main", "USDT"), deposit("BTC", "0.4", rate="50000"), sell("1", "60000"))
    assert outcome.book.realized == Decimal(4000)
    assert outcome.book.net_flows == Decimal(56000)
    (closed,) = outcome.booked[1].closed
    assert (closed.entry_quantity, closed.entry_value, closed.missing_quantity) == (1, 56000, Decimal("0.6"))


def test_the_first_buy_needs_no_deposit() -> None:
    """What the quote lacks comes in as an opening flow: the file begins in the middle of an account's life."""
    outcome = apply(new_book("main", "USDT"), buy("1", "50000"))
    assert outcome.book.net_flows == Decimal(50000)
    assert list(outcome.book.holdings) == ["BTC"]
    assert value_book(outcome.book).unrealized == 0


def test_nothing_of_a_page_is_booked_when_one_event_is_bad(funded: Book) -> None:
    before = funded.copy()
    with pytest.raises(MissingRate) as caught:
        fold(funded, [buy("1", "100"), buy("1", "100", number=2, fee="1 XRP")])
    assert caught.value.index == 1
    assert funded == before


def test_stablecoins_have_a_gain_of_their_own() -> None:
    """USDC is bought at 0.999 and sold at 1.001: a gain, though no position was ever opened."""
    outcome = apply(
        new_book("main", "USDT"),
        buy("1000", "0.999", symbol="USDCUSDT"),
        sell("1000", "1.001", symbol="USDCUSDT", number=2),
    )
    assert outcome.book.realized == Decimal(2)
    assert all(not booked.closed for booked in outcome.booked)
