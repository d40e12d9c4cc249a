"""An account's log folded anew up to a trade correction. Pure, and fed record by record, so that no log is too long.

The state after a record is the fold of the log up to it, in which each fill is what its last correction up to there
says. A worker that meets a correction therefore folds the account's log once more from the start, and tells again
whatever came out differently, from the record of the corrected fill on.
"""

from portfolio import Book, LogPosition, Outcome
from portfolio.amendments import Amendments
from portfolio.snapshots import Restatement
from streams.account_log import Applied, NeedsRefold, Rejected, describe_outcome, fold_record
from streams.publishing import Output

_LARGE_BYTES = 1024 * 1024
"""A smaller record cannot change so much that it is rejected for that."""


class Refold:
    """The fold of an account's log with one correction more."""

    def __init__(self, needed: NeedsRefold, position: LogPosition, partitions: int) -> None:
        """Begin with an empty book.

        Args:
            needed: The correction, and the book before it.
            position: Where the correction stands.
            partitions: How many partitions the log has.
        """
        self._correction_id = needed.correction.id
        self._previous_sequence = needed.book.sequence
        self._position = position
        self._partitions = partitions
        self._amendments = Amendments.of_book(needed.book, (position, needed.correction))
        self._book: Book | None = None
        self._first_sequence = 0
        self._pages = 0

    def take(self, key: bytes | None, value: bytes | None, position: LogPosition) -> Output | None:
        """Fold the account's next record before the correction.

        Returns:
            The page of the journal that tells it again; None where nothing of it can have changed.
        """
        outcome = self._fold(key, value, position)
        if outcome is None:
            return None
        if self._correction_id not in outcome.book.corrections or not outcome.booked:
            if value is None or len(value) < _LARGE_BYTES or isinstance(describe_outcome(outcome, position), Applied):
                self._book = outcome.book
            return None
        self._first_sequence = self._first_sequence or outcome.booked[0].sequence
        step = describe_outcome(outcome, position, self._restatement(is_last=False))
        if isinstance(step, Rejected):
            return None
        self._book = outcome.book
        self._pages += 1
        return step.outputs[0]

    def finish(self, key: bytes | None, value: bytes | None) -> Applied | Rejected:
        """Fold the correction's own record; what comes of it tells everything that the account holds."""
        outcome = self._fold(key, value, self._position)
        if outcome is None:
            return Rejected("the trade correction cannot be read a second time")
        self._first_sequence = self._first_sequence or outcome.book.sequence
        return describe_outcome(outcome, self._position, self._restatement(is_last=True))

    def _fold(self, key: bytes | None, value: bytes | None, position: LogPosition) -> Outcome | None:
        outcome = fold_record(
            key, value, position=position, book=self._book, partitions=self._partitions, amendments=self._amendments
        )
        return outcome if isinstance(outcome, Outcome) else None

    def _restatement(self, *, is_last: bool) -> Restatement:
        return Restatement(
            correction_id=self._correction_id,
            position=self._position,
            first_sequence=self._first_sequence,
            previous_sequence=self._previous_sequence,
            page=self._pages,
            is_last=is_last,
        )
