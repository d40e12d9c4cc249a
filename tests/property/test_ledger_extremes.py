"""The far ends: dust, billions, 18 decimals, thousands of symbols, a million fills."""

import gc
import time
from decimal import Decimal

import pytest

from portfolio import Book, Event, Fill, Side, amount, encode_book, fold, new_book, value_book
from portfolio.money import exact_arithmetic
from tests.support.ledger import START_US, apply, buy, check_invariants, check_journal, deposit, sell

LARGEST = "9" * 24 + "." + "9" * 24
SMALLEST = "0." + "0" * 23 + "1"


def test_dust_of_a_coin_that_costs_nothing() -> None:
    """1e-8 SHIB at 0.00000001 USDT is worth 1e-16; a trillion of them are still dust, and all of it is counted."""
    book = new_book("main", "USDT")
    for number in range(1, 30):
        book = apply(book, buy("0.00000001", "0.00000001", symbol="SHIBUSDT", number=number)).book
    assert book.holdings["SHIB"].cost == Decimal("29E-16")
    book = apply(book, sell("0.00000028", "0.00000002", symbol="SHIBUSDT", number=40)).book
    assert book.realized == Decimal("28E-16")
    assert book.holdings["SHIB"].cost == Decimal("1E-16")


def test_a_trillion_of_them_beside_the_dust() -> None:
    outcome = apply(
        new_book("main", "USDT"),
        buy("1000000000000", "0.000012345678901234", symbol="SHIBUSDT", number=1),
        buy("0.00000001", "0.000000000000000001", symbol="SHIBUSDT", number=2),
        sell("1000000000000.00000001", "0.000099999999999999", symbol="SHIBUSDT", number=3),
    )
    assert "SHIB" not in outcome.book.holdings
    with exact_arithmetic():
        spent = Decimal("12345678.901234") + Decimal("1E-26")
        received = Decimal("1000000000000.00000001") * Decimal("0.000099999999999999")
        assert outcome.book.realized == received - spent


@pytest.mark.parametrize("price", [SMALLEST, "1", LARGEST])
@pytest.mark.parametrize("quantity", [SMALLEST, "1", LARGEST])
def test_every_corner_is_exact(price: str, quantity: str) -> None:
    rates = {"BTC": LARGEST, "BNB": SMALLEST}
    book = apply(
        new_book("main", "USDT"),
        deposit("USDT", "1"),
        buy(quantity, price, fee=f"{SMALLEST} BNB", rates=rates),
        sell(quantity, price, number=2, fee=f"{LARGEST} BNB", rates=rates),
        deposit("BTC", quantity, rate=price),
    ).book
    assert value_book(book, {"BTC": amount(LARGEST)}).identity_error == 0


def test_corners_of_a_cross() -> None:
    rates = {"BTC": SMALLEST, "ETH": LARGEST}
    for side in (buy, sell):
        apply(new_book("main", "USDT"), side(LARGEST, LARGEST, symbol="ETHBTC", rates=rates, fee=f"{LARGEST} ETH"))


def test_ten_thousand_symbols() -> None:
    """One book with ten thousand holdings: conserved, and a fill of one leaves the others as they are."""
    events: list[Event] = [
        buy("3", "7.77", symbol=f"C{number}/USDT", fee=f"0.001 C{number}", dust_limit="0.01")
        for number in range(10_000)
    ]
    outcome = fold(new_book("main", "USDT"), events)
    check_invariants(outcome.book)
    check_journal(new_book("main", "USDT"), outcome)
    assert len(outcome.book.holdings) == len(outcome.book.symbols) == 10_000
    after = fold(outcome.book, [sell("2.999", "8", symbol="C5000/USDT", number=2)])
    assert set(after.touched) == {"C5000", "USDT"}
    assert after.book.holdings.keys() ^ outcome.book.holdings.keys() == {"C5000", "USDT"}
    assert len(encode_book(after.book)) < 10_000 * 600


def churn(numbers: range) -> list[Event]:
    """Fills that go in and out of ten coins, in parts that do not divide evenly."""
    return [
        Fill(
            symbol=f"C{number % 10}USDT",
            base=f"C{number % 10}",
            quote="USDT",
            side=Side.BUY if number // 10 % 3 < 2 else Side.SELL,
            price=Decimal(100 + number % 7) / 8,
            quantity=Decimal(1) if number // 10 % 3 < 2 else Decimal("1.99999999"),
            fee=Decimal("0.00075"),
            fee_asset="BNB",
            rates={"BNB": Decimal("300.5")},
            trade_id=number,
            order_id=number,
            time_us=START_US + number,
        )
        for number in numbers
    ]


def folded(book: Book, page: list[Event]) -> tuple[Book, float]:
    """The book after a page, and the processor time that it took."""
    gc.collect()
    started = time.process_time()
    book = fold(book, page).book
    return book, time.process_time() - started


def test_a_book_is_as_large_as_what_is_held_not_as_what_happened() -> None:
    sizes = []
    book = new_book("main", "USDT")
    for first in range(0, 20_000, 2_000):
        book = fold(book, churn(range(first, first + 2_000))).book
        check_invariants(book)
        sizes.append(len(encode_book(book)))
    assert sizes[-1] < 1.1 * sizes[0]


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_million_fills_take_a_million_times_one() -> None:
    """Each page goes into the book that has all before it and into an empty one, side by side: the millionth fill must
    cost what the first does. A ratio, for a busy machine slows both."""
    pages, size = 100, 10_000
    book, late, fresh = new_book("main", "USDT"), 0.0, 0.0
    for number in range(pages):
        page = churn(range(number * size, (number + 1) * size))
        book, seconds = folded(book, page)
        if number >= pages // 2:
            late += seconds
            fresh += folded(new_book("main", "USDT"), page)[1]
    check_invariants(book)
    assert book.sequence == pages * size
    assert late / fresh < 1.5
