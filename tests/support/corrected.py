"""An account with trade corrections, as a worker keeps it and as whoever reads the log later does; without Kafka."""

from collections.abc import Iterator

from portfolio import Book, Event, Fill, LogPosition, Outcome, TradeCorrection, decode_book
from portfolio.amendments import Amendments
from portfolio.snapshots import LedgerUpdate, describe_update
from streams.account_log import Applied, NeedsRefold, Rejected, apply_record, fold_record, partition_of, read_correction
from streams.records import journal_records
from streams.refold import Refold
from tests.support.worker import TIME_US, record

ACCOUNT = "main"
KEY = ACCOUNT.encode()
PARTITIONS = 8
HOME = partition_of(ACCOUNT, PARTITIONS)


def correction(number: int, becomes: Fill | None = None, *, name: str = "c1", flows: tuple[str, ...] = ()) -> Event:
    return TradeCorrection(
        id=name,
        symbol="BTCUSDT",
        trade_id=number,
        order_id=number,
        replacement=becomes,
        flows=flows,
        author="auditor",
        reason="cancelled by the exchange",
        time_us=TIME_US + 10_000,
    )


class Ledger:
    """What a worker does, without Kafka: the log, the stored book, and the journal that it published."""

    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.stored: bytes | None = None
        self.journal: list[LedgerUpdate] = []
        self.rejected: list[str] = []

    @property
    def book(self) -> Book:
        assert self.stored is not None
        return decode_book(self.stored)

    def append(self, *events: Event) -> None:
        value = record(ACCOUNT, *events)
        position = LogPosition(HOME, len(self.log))
        step = apply_record(KEY, value, position=position, stored=self.stored, partitions=PARTITIONS)
        if isinstance(step, NeedsRefold):
            step = self._refold(step, value, position)
        self.log.append(value)
        if isinstance(step, Rejected):
            self.rejected.append(step.reason)
            return
        self.stored = step.stored
        self.journal.append(journal_records.decode(step.outputs[0].value).update)

    def _refold(self, needed: NeedsRefold, value: bytes, position: LogPosition) -> Applied | Rejected:
        refold = Refold(needed, position, PARTITIONS)
        for offset, earlier in enumerate(self.log):
            page = refold.take(KEY, earlier, LogPosition(HOME, offset))
            if page is not None:
                self.journal.append(journal_records.decode(page.value).update)
        return refold.finish(KEY, value)

    def read_whole(self) -> Book | None:
        """What whoever reads the log later comes to."""
        book: Book | None = None
        for outcome in self._whole():
            book = outcome.book
        return book

    def updates(self) -> Iterator[LedgerUpdate]:
        """What is to be told of the log by whoever reads it later: nothing twice."""
        for outcome in self._whole():
            assert outcome.book.position is not None
            yield describe_update(outcome, outcome.book.position)

    def _whole(self) -> Iterator[Outcome]:
        found = []
        for offset, value in enumerate(self.log):
            where = LogPosition(HOME, offset)
            read = read_correction(KEY, value, position=where, partitions=PARTITIONS)
            if read is not None:
                found.append((where, read[1]))
        book: Book | None = None
        for offset, value in enumerate(self.log):
            step = fold_record(
                KEY,
                value,
                position=LogPosition(HOME, offset),
                book=book,
                partitions=PARTITIONS,
                amendments=Amendments(found),
            )
            if isinstance(step, Outcome):
                book = step.book
                yield step
