"""What holds for every account, whatever happens to it."""

import itertools
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from portfolio import (
    Book,
    Booked,
    CostAdjustment,
    EntryKind,
    Event,
    Fill,
    Flow,
    InvalidBook,
    LogPosition,
    Outcome,
    Reclassification,
    Side,
    decode_book,
    encode_book,
    fold,
    new_book,
    value_book,
)
from portfolio.money import COST_PLACES, exact_arithmetic, share
from tests.property.strategies import DEEP, History, everyday, extreme, histories, numbers
from tests.support.ledger import check_invariants, check_journal

QUANTUM = Decimal(1).scaleb(-COST_PLACES)

modest = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def start(history: History) -> Book:
    return new_book("main", history.reporting)


def conserved(history: History) -> None:
    """Check every event of a history.

    Costs = flows + realized; equity = flows + realized + unrealized; no holding short; cash at cost 1; entries that
    balance; postings that add up to the holdings. The book before is untouched, and bytes keep the book.
    """
    book = start(history)
    for event in history.events:
        before = encode_book(book)
        outcome = fold(book, [event])
        assert encode_book(book) == before
        check_invariants(outcome.book)
        check_journal(book, outcome)
        data = encode_book(outcome.book)
        assert decode_book(data) == outcome.book
        assert encode_book(decode_book(data)) == data
        assert outcome.book.sequence == book.sequence + 1
        book = outcome.book


@modest
@given(histories())
def test_conservation(history: History) -> None:
    conserved(history)


@modest
@given(histories(amounts=extreme, max_size=6))
def test_conservation_of_extremes(history: History) -> None:
    """Inputs of up to 24 digits before and 24 after the point: no sum or product is ever rounded, or `fold` raised."""
    conserved(history)


@pytest.mark.slow
@DEEP
@given(histories(max_size=60))
def test_conservation_deep(history: History) -> None:
    conserved(history)


@pytest.mark.slow
@DEEP
@given(histories(amounts=extreme, max_size=30))
def test_conservation_of_extremes_deep(history: History) -> None:
    conserved(history)


@modest
@given(histories(), st.data())
def test_paging_changes_nothing(history: History, data: st.DataObject) -> None:
    """One page, pages of any size, one event at a time, with the book encoded and decoded between: the same bytes."""
    whole = fold(start(history), history.events)
    cuts = data.draw(st.lists(st.integers(0, len(history.events)), max_size=4).map(sorted))
    for bounds in ([0, *cuts, len(history.events)], range(len(history.events) + 1)):
        book = start(history)
        booked: list[Booked] = []
        for first, last in itertools.pairwise(bounds):
            outcome = fold(decode_book(encode_book(book)), history.events[first:last])
            book = outcome.book
            booked.extend(outcome.booked)
        assert encode_book(book) == encode_book(whole.book)
        assert tuple(booked) == whole.booked


@modest
@given(histories(), st.data())
def test_duplicates_change_nothing(history: History, data: st.DataObject) -> None:
    """What has an identifier may come again at any later time, as a page read twice or as an old event."""
    delivered: list[Event] = []
    repeated = 0
    for event in history.events:
        delivered.append(event)
        seen: list[Event] = [
            one for one in delivered if isinstance(one, Fill | Flow | CostAdjustment | Reclassification)
        ]
        if seen:
            again = data.draw(st.lists(st.sampled_from(seen), max_size=2))
            delivered.extend(again)
            repeated += len(again)
    once, often = fold(start(history), history.events), fold(start(history), delivered)
    assert encode_book(often.book) == encode_book(once.book)
    assert often.booked == once.booked
    assert (often.duplicates, often.conflicts) == (repeated, ())


@modest
@given(histories(), st.data())
def test_records_read_again_change_nothing(history: History, data: st.DataObject) -> None:
    """A crash at any record, with everything since some older record read again: the bytes of a run without one."""
    records = list(enumerate(history.events))
    crash = data.draw(st.integers(0, len(records)))
    back = data.draw(st.integers(0, crash))
    books = []
    for delivery in (records, records[:crash] + records[back:]):
        book = start(history)
        for offset, event in delivery:
            book = fold(book, [event], position=LogPosition(0, offset)).book
        books.append(encode_book(book))
    assert books[0] == books[1]


@modest
@given(histories())
def test_as_of_is_the_replay_of_the_prefix(history: History) -> None:
    """The books passed through on the way are those that folding each prefix alone gives."""
    book = start(history)
    for count, event in enumerate(history.events, start=1):
        book = fold(book, [event]).book
        assert encode_book(book) == encode_book(fold(start(history), history.events[:count]).book)


def split(fill: Fill, parts: list[Decimal]) -> list[Event]:
    """The fill in parts, at its price, each with its share of the fee (the last has what is left)."""
    total = sum(parts, Decimal(0))
    pieces: list[Event] = []
    quantity, fee = fill.quantity, fill.fee
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        piece = quantity if is_last else share(fill.quantity, part, total)
        paid = fee if is_last else share(fill.fee, part, total)
        if piece <= 0:
            continue
        pieces.append(replace(fill, quantity=piece, fee=paid, trade_id=fill.trade_id * 10 + number))
        with exact_arithmetic():
            quantity, fee = quantity - piece, fee - paid
    return pieces


def split_and_whole(history: History, parts: list[Decimal]) -> tuple[Outcome, Outcome, int]:
    """The history with its last fill whole, and in parts."""
    *before, last = history.events
    assert isinstance(last, Fill)
    last = replace(last, quote_quantity=None, dust_limit=Decimal(0))
    before = [replace(event, dust_limit=Decimal(0)) for event in before if isinstance(event, Fill)]
    with exact_arithmetic():
        book = fold(start(history), before).book
        pieces = split(replace(last, trade_id=100), parts)
    return fold(book, [replace(last, trade_id=100)]), fold(book, pieces), len(pieces)


@modest
@given(histories(only_fills=True), st.lists(everyday, min_size=2, max_size=5))
def test_a_fill_in_parts_is_the_fill(history: History, parts: list[Decimal]) -> None:
    """Exactly the same: quantities, fees, volume, and equity at any mark.

    Costs, flows and realized too, but that each disposal of a part may cut one quantum more.
    """
    whole, partial, count = split_and_whole(history, parts)
    one, many = whole.book, partial.book
    last = history.events[-1]
    assert isinstance(last, Fill)
    with exact_arithmetic():
        assert {a: h.quantity for a, h in one.holdings.items()} == {a: h.quantity for a, h in many.holdings.items()}
        assert (one.fees, one.fees_by_asset) == (many.fees, many.fees_by_asset)
        assert one.symbols[last.symbol].volume == many.symbols[last.symbol].volume
        assert one.symbols[last.symbol].fills + count - 1 == many.symbols[last.symbol].fills
        marks = {asset: Decimal("1.7") for asset in one.holdings}
        mine, theirs = value_book(one, marks), value_book(many, marks)
        assert mine.equity == theirs.equity
        given_up = last.quote if last.side is Side.BUY else last.base
        ran_short = any(e.kind is EntryKind.OPENING for o in (whole, partial) for b in o.booked for e in b.entries)
        if ran_short and last.fee_asset == given_up:
            # Trade and fee take the same asset, and there is too little: the parts decide which of them lacks it. It is
            # made good at the value it goes out for, and a fill may carry another rate for its fee.
            return
        bound = 6 * count * QUANTUM
        assert abs(mine.net_flows - theirs.net_flows) <= bound
        assert abs(mine.total_pnl - theirs.total_pnl) <= bound
        received = last.base if last.side is Side.BUY else last.quote
        if last.fee_asset != received:
            # A fee out of what is received is paid at the average of old and new, which grows part by part.
            assert abs(one.realized - many.realized) <= bound
            for asset, holding in one.holdings.items():
                assert abs(holding.cost - many.holdings[asset].cost) <= bound


@modest
@given(st.integers(2, 6), numbers(digits=8, places=2), numbers(digits=8, places=2))
def test_a_purchase_in_parts_is_the_purchase_exactly(parts: int, price: Decimal, quantity: Decimal) -> None:
    """Bought with the reporting currency nothing is divided, so nothing is rounded: only counts differ."""
    fill = Fill(
        symbol="BTCUSDT",
        base="BTC",
        quote="USDT",
        side=Side.BUY,
        price=price,
        quantity=quantity,
        trade_id=1,
        order_id=1,
        time_us=0,
    )
    one = fold(new_book("main", "USDT"), [fill]).book
    many = fold(new_book("main", "USDT"), split(fill, [Decimal(1)] * parts)).book
    assert (one.holdings["BTC"].quantity, one.holdings["BTC"].cost) == (
        many.holdings["BTC"].quantity,
        many.holdings["BTC"].cost,
    )
    assert (one.net_flows, one.realized) == (many.net_flows, many.realized)


@settings(max_examples=40, deadline=None, phases=[Phase.generate])
@given(st.binary(max_size=300), st.data())
def test_a_book_never_comes_from_garbage(garbage: bytes, data: st.DataObject) -> None:
    history = data.draw(histories(max_size=3))
    encoded = encode_book(fold(start(history), history.events).book)
    place = data.draw(st.integers(0, len(encoded)))
    for broken in (garbage, encoded[:place] + garbage + encoded[place:]):
        try:
            decode_book(broken)
        except InvalidBook:
            continue
