"""A whole history folded anew, with its corrections where the corrected events stand."""

from collections.abc import Iterable

from portfolio.amendments import Amendments
from portfolio.book import Book, LogPosition
from portfolio.events import Event, TradeCorrection
from portfolio.journal import Booked
from portfolio.ledger import Outcome, fold


def refold(book: Book, events: Iterable[Event]) -> Outcome:
    """Fold a history in which trade corrections change what came before them.

    For a history that is held in memory; a worker streams its log through `fold` with `Amendments` in the same way.

    Args:
        book: The book before the history, in which none of its events is.
        events: The history, in order.

    Returns:
        The book after it, and what each event was booked as. The book has no log position.

    Raises:
        InvalidEvent: An event cannot be booked.
    """
    history = list(events)
    places = [LogPosition(0, offset) for offset in range(len(history))]
    amendments = Amendments(
        (place, event) for place, event in zip(places, history, strict=True) if isinstance(event, TradeCorrection)
    )
    booked: list[Booked] = []
    conflicts: list[Event] = []
    touched: dict[str, None] = {}
    duplicates = 0
    for place, event in zip(places, history, strict=True):
        outcome = fold(book, (event,), position=place, amendments=amendments)
        book = outcome.book
        booked.extend(outcome.booked)
        conflicts.extend(outcome.conflicts)
        touched |= dict.fromkeys(outcome.touched)
        duplicates += outcome.duplicates
    book = book.copy()
    book.position = None
    return Outcome(
        book=book, booked=tuple(booked), duplicates=duplicates, conflicts=tuple(conflicts), touched=tuple(touched)
    )
