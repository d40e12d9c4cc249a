"""One record of the log of record: read it, fold it, say what to publish. Pure, so that a replay does the same.

A record that cannot be read or booked is rejected, with a reason that a person can act on. The account's later
records are not held up.
"""

import re
from typing import NamedTuple

from aiokafka.partitioner import murmur2

from portfolio import (
    Book,
    LogPosition,
    NeedsHistory,
    Outcome,
    PortfolioError,
    TradeCorrection,
    decode_book,
    encode_book,
    fold,
    new_book,
)
from portfolio.amendments import NO_AMENDMENTS, Amendments
from portfolio.events import TIME_US_MIN
from portfolio.snapshots import LedgerUpdate, Restatement, describe_update
from streams import topics
from streams.publishing import Output
from streams.records import (
    EVENTS_PER_PAGE_MAX,
    AccountEvents,
    BalanceRecord,
    JournalRecord,
    PnlRecord,
    PositionRecord,
    UnreadableRecord,
    account_events,
    balance_records,
    journal_records,
    pnl_records,
    position_records,
)

ACCOUNT_EVENTS_VERSION = 1
"""The newest version of the record that this code understands."""

_ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_KEY_SHOWN_MAX = 120

_MARKS_OF_A_CORRECTION = (b"trade_correction", b"\\u")
"""One of them is in every record with a trade correction, so that most records need not be decoded to look for one."""


class Applied(NamedTuple):
    """What a record did."""

    book: Book
    stored: bytes
    """The book as it is to be stored, whether it changed or not."""
    outputs: tuple[Output, ...]
    """What is to be published before the book is stored; nothing where the book had seen the record before."""
    outcome: Outcome | None = None
    """What folding it came to; None where the book had seen the record before."""


class Rejected(NamedTuple):
    """A record that was not applied."""

    reason: str


class NeedsRefold(NamedTuple):
    """A trade correction: what the account's book was made of is to be folded anew with it, see `Refold`."""

    book: Book
    """The account's book before it; an empty one if it had none."""
    correction: TradeCorrection


def read_account(key: bytes | None) -> str:
    """The account that a record's key names.

    Raises:
        UnreadableRecord: It names none. Names are up to 100 letters, digits and `._@-`, and begin with a letter or a
            digit; so the keys that are built from them (`account:symbol`) are unambiguous.
    """
    try:
        account = (key or b"").decode()
    except UnicodeDecodeError as error:
        raise UnreadableRecord(f"the key is not the name of an account in UTF-8: {error}") from error
    if not _ACCOUNT_NAME.fullmatch(account):
        raise UnreadableRecord(
            f"the key {account[:_KEY_SHOWN_MAX]!r} is not the name of an account: up to 100 letters, digits and ._@-, "
            "beginning with a letter or a digit"
        )
    return account


def partition_of(account: str, partitions: int) -> int:
    """The partition that an account belongs to: Kafka's own default, murmur2 of the key."""
    return int(murmur2(account.encode()) & 0x7FFFFFFF) % partitions


def begin_book(record: AccountEvents) -> Book:
    """The empty book that an account's first record makes."""
    if record.cash_assets is None:
        return new_book(record.account, record.reporting)
    return new_book(record.account, record.reporting, record.cash_assets)


def fold_record(
    key: bytes | None,
    value: bytes | None,
    *,
    position: LogPosition,
    book: Book | None,
    partitions: int,
    amendments: Amendments = NO_AMENDMENTS,
) -> Outcome | Rejected | NeedsRefold:
    """Fold one record of the log into its account's book; what is accepted here is what the books are made of.

    Args:
        key: The record's key.
        value: The record's value.
        position: Where in the log it is.
        book: The account's book; None if it has none yet.
        partitions: How many partitions the log has.
        amendments: The corrections that come later in the log.
    """
    try:
        record = _read_record(key, value, position, partitions)
    except UnreadableRecord as error:
        return Rejected(str(error))
    return _fold(record, position, book, amendments)


def _fold(
    record: AccountEvents, position: LogPosition, book: Book | None, amendments: Amendments = NO_AMENDMENTS
) -> Outcome | Rejected | NeedsRefold:
    book = begin_book(record) if book is None else book
    if record.reporting != book.reporting:
        return Rejected(
            f"the books of {record.account} are kept in {book.reporting}, but the record reports in "
            f"{record.reporting}; use another account name for another reporting currency"
        )
    if record.cash_assets is not None and begin_book(record).cash_assets != book.cash_assets:
        return Rejected(
            f"the books of {record.account} take {', '.join(book.cash_assets)} for cash, but the record "
            f"{', '.join(record.cash_assets)}; what is cash cannot change, since it decides which positions there are"
        )
    try:
        return fold(book, record.events, position=position, amendments=amendments)
    except NeedsHistory:
        (correction,) = record.events
        assert isinstance(correction, TradeCorrection)
        return NeedsRefold(book, correction)
    except (PortfolioError, ArithmeticError) as error:
        # Arithmetic: amounts that pass one by one, but whose product has more digits than any number of ours.
        return _rejected(error)


def apply_record(
    key: bytes | None, value: bytes | None, *, position: LogPosition, stored: bytes | None, partitions: int
) -> Applied | Rejected | NeedsRefold:
    """Apply one record of the log: fold it, and say what is to be stored and published.

    Args:
        key: The record's key.
        value: The record's value.
        position: Where in the log it is.
        stored: The account's stored book; None if it has none.
        partitions: How many partitions the log has.

    Raises:
        InvalidBook: `stored` is not a book. That is no fault of the record, and nothing can go on.
    """
    try:
        record = _read_record(key, value, position, partitions)
    except UnreadableRecord as error:
        return Rejected(str(error))
    # Only now: among very many records that cannot be read, decoding a large book for each would be most of the work.
    book = None if stored is None else decode_book(stored)
    outcome = _fold(record, position, book)
    if not isinstance(outcome, Outcome):
        return outcome
    if book is not None and book.position is not None and book.position >= position:
        # Its outputs were acknowledged before the book was stored. The changelog may not have the book yet, though.
        return Applied(book, encode_book(book), ())
    return describe_outcome(outcome, position)


def describe_outcome(
    outcome: Outcome, position: LogPosition, restatement: Restatement | None = None
) -> Applied | Rejected:
    """Say what is to be stored and published of a record that was folded.

    Args:
        outcome: What it came to.
        position: Where in the log it is.
        restatement: Set where this takes the place of what was told before.
    """
    stored = encode_book(outcome.book)
    try:
        outputs = _outputs(describe_update(outcome, position, encoded=stored, restatement=restatement))
    except (PortfolioError, ArithmeticError) as error:
        return _rejected(error)
    largest = max(len(output.value) for output in outputs)
    if largest > topics.VALUE_BYTES_MAX:
        return Rejected(f"what it changes makes a record of {largest} bytes, too large for Kafka; use smaller pages")
    return Applied(outcome.book, stored, outputs, outcome)


def read_correction(
    key: bytes | None, value: bytes | None, *, position: LogPosition, partitions: int
) -> tuple[str, TradeCorrection] | None:
    """The trade correction in a record, after the reporting currency of the record; None where there is none."""
    if value is None or not any(mark in value for mark in _MARKS_OF_A_CORRECTION):
        return None
    try:
        record = _read_record(key, value, position, partitions)
    except UnreadableRecord:
        return None
    first = record.events[0] if record.events else None
    return (record.reporting, first) if isinstance(first, TradeCorrection) else None


def read_reporting(key: bytes | None, value: bytes | None, *, position: LogPosition, partitions: int) -> str | None:
    """The currency that a record reports in; None where it cannot be read."""
    try:
        return _read_record(key, value, position, partitions).reporting
    except UnreadableRecord:
        return None


def _rejected(error: Exception) -> Rejected:
    return Rejected(f"{type(error).__name__}: {error}")


def _read_record(key: bytes | None, value: bytes | None, position: LogPosition, partitions: int) -> AccountEvents:
    account = read_account(key)
    record = account_events.decode(value)
    if record.version > ACCOUNT_EVENTS_VERSION:
        raise UnreadableRecord(
            f"version {record.version} of account-events is newer than this worker, which understands "
            f"{ACCOUNT_EVENTS_VERSION}; upgrade it"
        )
    if record.account != account:
        raise UnreadableRecord(f"the key names account {account!r}, the record {record.account!r}; they must agree")
    if len(record.events) > EVENTS_PER_PAGE_MAX:
        raise UnreadableRecord(f"a page of {len(record.events)} events; at most {EVENTS_PER_PAGE_MAX} go in one record")
    if (earliest := min((event.time_us for event in record.events), default=TIME_US_MIN)) < TIME_US_MIN:
        raise UnreadableRecord(
            f"an event has the time {earliest}, before 2009: times are epoch microseconds; were these milliseconds?"
        )
    if len(record.events) > 1 and any(isinstance(event, TradeCorrection) for event in record.events):
        raise UnreadableRecord("a trade correction stands alone in its record, not in a page")
    home = partition_of(account, partitions)
    if position.partition != home:
        raise UnreadableRecord(
            f"account {account!r} belongs to partition {home}, the record came in {position.partition}; let the "
            "producer choose the partition by murmur2 of the key, as Kafka's own clients do"
        )
    return record


def _outputs(update: LedgerUpdate) -> tuple[Output, ...]:
    """The records that tell of an update, all in the account's own partition.

    The journal comes first: whoever keeps a copy from it is never behind the views.
    """
    account, partition = update.account.encode(), update.position.partition
    journal = journal_records.encode(JournalRecord(update=update))
    pnl = pnl_records.encode(PnlRecord(cause="book", snapshot=update.snapshot))
    return (
        Output(topics.JOURNAL.name, account, journal, partition),
        *(
            Output(
                topics.POSITIONS.name,
                account + b":" + snapshot.symbol.encode(),
                position_records.encode(PositionRecord(snapshot=snapshot)),
                partition,
            )
            for snapshot in update.positions
        ),
        *(
            Output(
                topics.BALANCES.name,
                account + b":" + snapshot.asset.encode(),
                balance_records.encode(BalanceRecord(snapshot=snapshot)),
                partition,
            )
            for snapshot in update.balances
        ),
        Output(topics.PNL.name, account, pnl, partition),
    )
