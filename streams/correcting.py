"""Corrections by a person: look at an account, see what an event would make of it, append the event to the log."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, ConsumerRecord

from infra.errors import RemediableError
from infra.settings import Settings
from portfolio import Book, Fill, LogPosition, Outcome, PortfolioError, TradeCorrection, fold
from portfolio.amendments import Amendments
from portfolio.duplicates import Novelty, classify_correction, classify_trade_correction
from portfolio.events import CostAdjustment, Flow, Reclassification
from streams.account_log import Rejected, fold_record, partition_of
from streams.connection import client_options, needing_kafka
from streams.log_reader import PartitionLog, open_log
from streams.records import AccountEvents, account_events
from streams.topics import ACCOUNT_EVENTS, MESSAGE_BYTES_MAX

ByHand = CostAdjustment | Reclassification | TradeCorrection | Flow
"""The events that a person is the author of."""

OnProgress = Callable[[int], None]
"""Called with the number of events read so far."""


class Account(NamedTuple):
    """An account as its log says it is."""

    book: Book
    fills: list[Fill]
    """The fills that were looked for, as they came."""
    rejected: int
    """Records of the log that could not be booked."""


class Looking:
    """The log of one account, opened to look at it and to see what an event would make of it."""

    def __init__(self, settings: Settings, account: str, log: PartitionLog, on_progress: OnProgress) -> None:
        self._partitions = settings.partitions
        self._account = account
        self._log = log
        self._on_progress = on_progress

    async def now(self, wanted: Callable[[Fill], bool] = lambda _fill: False) -> Account:
        """The account at this moment.

        Args:
            wanted: Which of its fills to keep.

        Raises:
            RemediableError: The log says nothing of the account, or does not begin at its beginning.
        """
        if self._log.first > 0:
            raise RemediableError(
                f"the log begins at offset {self._log.first}, so that the account's history is not whole",
                "Restore the topic portfolio.account-events",
            )
        account = await self._read(wanted, Amendments())
        if account is None:
            raise RemediableError(
                f"the log says nothing of an account {self._account}",
                "Name one with --account, or set PORTFOLIO_ACCOUNT",
            )
        return account

    async def after(self, event: ByHand, before: Account) -> Book:
        """The book that an event would lead to, if it came next.

        Raises:
            RemediableError: It could not be booked.
        """
        place = LogPosition(self._log.partition, self._log.end)
        account = before
        amendments = Amendments()
        if isinstance(event, TradeCorrection):
            amendments = Amendments.of_book(before.book, (place, event))
            account = await self._read(lambda _fill: False, amendments) or before
        if account.rejected > before.rejected:
            raise RemediableError(
                f"with it, {account.rejected - before.rejected} record(s) of the log could be booked no more",
                "A cost adjustment or a fee may depend on the trade: adjust that first, or give rates with --rate",
            )
        try:
            return fold(account.book, (event,), position=place, amendments=amendments).book
        except (PortfolioError, ArithmeticError) as error:
            raise RemediableError(f"it cannot be booked: {error}", "Correct it; rates are given with --rate") from error

    async def _read(self, wanted: Callable[[Fill], bool], amendments: Amendments) -> Account | None:
        fills: dict[tuple[object, ...], Fill] = {}
        rejected = 0

        def note(record: ConsumerRecord, step: Outcome | Rejected) -> None:
            nonlocal rejected
            if isinstance(step, Rejected):
                rejected += 1
                return
            self._on_progress(step.book.sequence)
            for event in account_events.decode(record.value).events if step.booked else ():
                if isinstance(event, Fill) and wanted(event):
                    fills.setdefault((event.symbol, event.execution, event.trade_id, event.order_id), event)

        book = await self._log.fold(self._account, self._partitions, amendments=amendments, on_step=note)
        return None if book is None else Account(book, list(fills.values()), rejected)


@asynccontextmanager
async def looking_at(settings: Settings, account: str, on_progress: OnProgress) -> AsyncIterator[Looking]:
    """Open the log of an account, up to this moment.

    Raises:
        RemediableError: Kafka does not answer.
    """
    with needing_kafka(settings):
        async with open_log(settings, partition_of(account, settings.partitions)) as log:
            yield Looking(settings, account, log, on_progress)


def is_booked(event: ByHand, book: Book) -> bool:
    """Whether the event is in the book already.

    Raises:
        RemediableError: Another one has its identifier.
    """
    novelty = _novelty(event, book)
    if novelty is Novelty.CONFLICT:
        raise RemediableError(f"{event.id!r} is the id of another event with other content", "Give another --id")
    return novelty is Novelty.DUPLICATE


def _novelty(event: ByHand, book: Book) -> Novelty:
    match event:
        case TradeCorrection():
            noted = book.corrections.get(event.id)
            return Novelty.NEW if noted is None else classify_trade_correction(event, noted.correction)
        case Flow():
            known = book.flows.get(event.id)
            if known is None:
                return Novelty.NEW
            return Novelty.DUPLICATE if known.is_of(event) else Novelty.CONFLICT
        case CostAdjustment() | Reclassification():
            return classify_correction(event, book)


async def append(settings: Settings, book: Book, event: ByHand) -> LogPosition:
    """Append an event to the log of its account, in a record of its own, and wait until the brokers have it.

    Raises:
        RemediableError: Kafka did not take it. Whether it has it is not known; the same id again is harmless.
    """
    record = AccountEvents(
        account=book.account,
        reporting=book.reporting,
        cash_assets=book.cash_assets,
        source="operator",
        events=(event,),
    )
    value, key = account_events.encode(record), book.account.encode()
    partition = partition_of(book.account, settings.partitions)
    _require_readable(key, value, LogPosition(partition, 2**62), book, settings.partitions)
    producer = AIOKafkaProducer(
        **client_options(settings), enable_idempotence=True, acks="all", max_request_size=MESSAGE_BYTES_MAX
    )
    try:
        with needing_kafka(settings):
            await producer.start()
            sent = await producer.send_and_wait(ACCOUNT_EVENTS.name, value, key=key, partition=partition)
    finally:
        await producer.stop()
    return LogPosition(sent.partition, sent.offset)


def _require_readable(key: bytes, value: bytes, place: LogPosition, book: Book, partitions: int) -> None:
    step = fold_record(key, value, position=place, book=book, partitions=partitions)
    if isinstance(step, Rejected):
        raise RemediableError(f"the ledger would refuse it: {step.reason}", "Correct it and try again")
