"""What the corrections of a log make of the events before them.

A correction changes the past, and average cost depends on the path; so a book is never patched. What it is after the
log up to some position is the fold of that part of the log in which each fill is what the last correction of it says.
That is a property of the log alone: it does not matter when, how often, or from which book it is computed.
"""

from collections.abc import Iterable
from typing import NamedTuple

from portfolio.book import Book, BookedCorrection, LogPosition
from portfolio.events import FillKey, TradeCorrection


class Amendments:
    """Corrections that a fold knows of before it comes to their place in the log.

    The first correction of an identifier counts; the others are duplicates or conflicts of it. A correction concerns
    what stands before it: a fill that comes into the log after it is booked as it is.
    """

    def __init__(self, corrections: Iterable[tuple[LogPosition, TradeCorrection]] = ()) -> None:
        """Take note of corrections.

        Args:
            corrections: Each with its place, in any order.
        """
        self._known: dict[str, BookedCorrection] = {}
        self._of_fill: dict[FillKey, list[str]] = {}
        self._of_flow: dict[str, dict[FillKey, None]] = {}
        for position, correction in sorted(corrections, key=lambda one: one[0]):
            if correction.id not in self._known:
                self._add(position, correction)

    def _add(self, position: LogPosition, correction: TradeCorrection) -> None:
        revision = len(self._known) + 1
        self._known[correction.id] = BookedCorrection(correction=correction, position=position, revision=revision)
        self._of_fill.setdefault(correction.fill_key, []).append(correction.id)
        for flow in correction.flows:
            self._of_flow.setdefault(flow, {})[correction.fill_key] = None

    @classmethod
    def of_book(cls, book: Book, *more: tuple[LogPosition, TradeCorrection]) -> "Amendments":
        """Those that a book takes into account, and more."""
        return cls([*((booked.position, booked.correction) for booked in book.corrections.values()), *more])

    def __len__(self) -> int:
        return len(self._known)

    def booked(self, correction_id: str) -> BookedCorrection | None:
        """A correction with its place."""
        return self._known.get(correction_id)

    def of_fill(self, key: FillKey, position: LogPosition) -> "Amended | None":
        """What becomes of a fill at a position; None: nothing is corrected about it from there on."""
        pending = self._after(key, position)
        return Amended(pending, pending[-1].correction) if pending else None

    def of_flow(self, flow_id: str, position: LogPosition) -> "Amended | None":
        """What concerns a flow at a position; it is taken as nothing where the correction in force names it."""
        groups = [pending for key in self._of_flow.get(flow_id, ()) if (pending := self._after(key, position))]
        if not groups:
            return None
        names = [group[-1].correction for group in groups if flow_id in group[-1].correction.flows]
        return Amended([one for group in groups for one in group], names[-1] if names else None)

    def _after(self, key: FillKey, position: LogPosition) -> list[BookedCorrection]:
        known = [self._known[correction_id] for correction_id in self._of_fill.get(key, ())]
        return [booked for booked in known if booked.position > position]


class Amended(NamedTuple):
    """An event that corrections further on in the log are about."""

    pending: list[BookedCorrection]
    """Every one of them, in the order of the log."""
    in_force: TradeCorrection | None
    """The one that says what the event is; None: it is what it was."""


NO_AMENDMENTS = Amendments()
"""What a fold knows that goes forward only."""
