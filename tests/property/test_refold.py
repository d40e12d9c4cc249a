"""Corrections of trades: the book is the fold of the history as it should have been, whatever it was and whenever
that was found out."""

import dataclasses
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from portfolio import (
    Amendments,
    Book,
    Booked,
    Event,
    Fill,
    Flow,
    InvalidEvent,
    LogPosition,
    Marks,
    Reclassification,
    TradeCorrection,
    encode_book,
    exact_arithmetic,
    fold,
    new_book,
)
from portfolio.amendments import NO_AMENDMENTS
from portfolio.events import fill_key
from portfolio.pricing import price_fill
from tests.property.strategies import History, everyday, fills, histories
from tests.support.ledger import START_US, check_invariants

MANY = settings(max_examples=50, deadline=None)


@dataclasses.dataclass
class Corrected:
    """A history, and the same with some of its fills corrected at some later time."""

    reporting: str
    events: list[Event]
    edited: list[Event]


def _has_a_fill(history: History) -> bool:
    return any(isinstance(event, Fill) for event in history.events)


@st.composite
def corrected(draw: st.DrawFn) -> Corrected:
    history: History = draw(histories(max_size=10).filter(_has_a_fill))
    reporting = history.reporting
    events = list(history.events)
    named = {event.flow_id for event in events if isinstance(event, Reclassification)}
    for number in range(draw(st.integers(1, 4))):
        places = [place for place, event in enumerate(events) if isinstance(event, Fill)]
        place = draw(st.sampled_from(places))
        fill = events[place]
        assert isinstance(fill, Fill)
        other = draw(st.one_of(st.none(), fills(reporting, everyday)))
        becomes = None if other is None else _identified(other, fill)
        flows = [event.id for event in events if isinstance(event, Flow) and event.id not in named]
        correction = TradeCorrection(
            id=f"correction-{number}",
            symbol=fill.symbol,
            execution=fill.execution,
            trade_id=fill.trade_id,
            order_id=fill.order_id,
            replacement=becomes,
            flows=tuple(draw(st.lists(st.sampled_from(flows), max_size=1))) if flows else (),
            author="auditor",
            reason="cancelled by the exchange",
            time_us=START_US + 10**9 + number,
        )
        at = draw(st.integers(place + 1, len(events)))
        events.insert(at, correction)
    return Corrected(reporting, events, _edited(events, reporting))


def _identified(other: Fill, fill: Fill) -> Fill:
    return replace(
        other,
        symbol=fill.symbol,
        base=fill.base,
        quote=fill.quote,
        execution=fill.execution,
        trade_id=fill.trade_id,
        order_id=fill.order_id,
        time_us=fill.time_us,
    )


def _edited(events: list[Event], reporting: str) -> list[Event]:
    """Write the history as it should have been: the oracle, which knows nothing of amendments."""
    empty = new_book("main", reporting)
    edited: list[Event] = []
    in_force: dict[object, TradeCorrection] = {}
    for event in reversed(events):
        match event:
            case TradeCorrection():
                in_force.setdefault(event.fill_key, event)
                edited.append(Marks(rates={}, time_us=event.time_us))
            case Fill() if fill_key(event) in in_force:
                with exact_arithmetic():
                    prices = price_fill(event, empty)
                edited.append(in_force[fill_key(event)].replacement or Marks(rates=prices.rates, time_us=event.time_us))
            case Flow() if any(event.id in one.flows for one in in_force.values()):
                edited.append(Marks(rates=event.rates, time_us=event.time_us))
            case _:
                edited.append(event)
    return edited[::-1]


def _folded(
    book: Book, events: list[Event], amendments: Amendments = NO_AMENDMENTS, *, until: int | None = None
) -> tuple[Book, list[Booked], int]:
    """Record by record; one that cannot be booked is left out, as the ledger leaves it out."""
    booked: list[Booked] = []
    duplicates = 0
    for offset, event in enumerate(events[:until]):
        try:
            outcome = fold(book, (event,), position=LogPosition(0, offset), amendments=amendments)
        except InvalidEvent:
            continue
        book = outcome.book
        booked.extend(outcome.booked)
        duplicates += outcome.duplicates
    return book, booked, duplicates


def _amended(events: list[Event]) -> Amendments:
    return Amendments(
        (LogPosition(0, offset), event) for offset, event in enumerate(events) if isinstance(event, TradeCorrection)
    )


def _told(book: Book) -> Book:
    """What a book says of money, without what it knows by heart to refuse what comes twice."""
    symbols = {symbol: replace(totals, cursors={}) for symbol, totals in book.symbols.items() if totals.fills}
    marks = {asset: mark.rate for asset, mark in book.marks.items()}
    plain = replace(book, corrections={}, flows={}, adjustments={}, symbols=symbols, marks={}, position=None)
    return replace(plain, fees_by_asset={**plain.fees_by_asset, **{f"mark {one}": rate for one, rate in marks.items()}})


@MANY
@given(corrected())
def test_the_book_is_the_fold_of_the_history_as_it_should_have_been(history: Corrected) -> None:
    empty = new_book("main", history.reporting)
    book, _, _ = _folded(empty, history.events, _amended(history.events))
    check_invariants(book)
    expected, _, _ = _folded(empty, history.edited)
    assert _told(book) == _told(expected)


@MANY
@given(corrected())
def test_going_forward_and_folding_anew_at_each_correction_is_folding_once_at_the_end(history: Corrected) -> None:
    """A worker, which learns of each correction in its turn, against whoever reads the whole log later."""
    empty = new_book("main", history.reporting)
    live = empty
    for offset, event in enumerate(history.events):
        place = LogPosition(0, offset)
        if isinstance(event, TradeCorrection):
            live, _, _ = _folded(empty, history.events, Amendments.of_book(live, (place, event)), until=offset + 1)
        else:
            with suppress(InvalidEvent):
                live = fold(live, (event,), position=place).book
        check_invariants(live)
    once, _, _ = _folded(empty, history.events, _amended(history.events))
    assert encode_book(live) == encode_book(once)


@MANY
@given(corrected(), st.data())
def test_what_comes_again_after_a_correction_is_a_duplicate(history: Corrected, data: st.DataObject) -> None:
    """The fill as it first came, the correction, a flow that was taken as nothing: none of them counts twice."""
    last: dict[object, Fill] = {}
    for event in history.events:
        if isinstance(event, Fill):
            last[event.symbol, event.execution] = event
    again = [event for event in history.events if isinstance(event, Flow | TradeCorrection)] + list(last.values())
    repeated = [*history.events, data.draw(st.sampled_from(again))]
    empty = new_book("main", history.reporting)
    once, _, duplicates = _folded(empty, history.events, _amended(history.events))
    twice, _, more = _folded(empty, repeated, _amended(repeated))
    assert encode_book(replace(twice, position=once.position)) == encode_book(once)
    assert more == duplicates + 1


@MANY
@given(corrected())
def test_revisions_say_which_part_of_the_past_is_restated(history: Corrected) -> None:
    book, booked, _ = _folded(new_book("main", history.reporting), history.events, _amended(history.events))
    ranges = [(one.first_sequence, one.sequence, one.revision) for one in book.corrections.values()]
    for one in booked:
        covering = [revision for first, own, revision in ranges if first <= one.sequence < own]
        assert one.revision == max(covering, default=0)
    assert book.revision == len(ranges)
