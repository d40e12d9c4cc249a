"""The log of record read from its beginning by whoever folds it: workers, gateway, and commands."""

import asyncio
from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from infra.settings import Settings
from portfolio import Book, LogPosition, Outcome
from portfolio.amendments import NO_AMENDMENTS, Amendments
from portfolio.events import TradeCorrection
from streams.account_log import (
    NeedsRefold,
    Rejected,
    fold_record,
    read_account,
    read_correction,
    read_reporting,
)
from streams.reading import reading
from streams.records import UnreadableRecord
from streams.topics import ACCOUNT_EVENTS

_POLL_MS = 200

_AUTHOR = b'"author"'

OnStep = Callable[[ConsumerRecord, Outcome | Rejected], None]


class PartitionLog:
    """One partition of the log, up to an offset; it can be read any number of times.

    Attributes:
        partition: Its number.
        first: The first offset that is kept; above zero where the beginning is lost.
        end: The offset at which reading ends; that record is not read.
    """

    def __init__(self, consumer: AIOKafkaConsumer, partition: int, first: int, end: int) -> None:
        self.partition = partition
        self.first = first
        self.end = end
        self._consumer = consumer
        self._assigned = TopicPartition(ACCOUNT_EVENTS.name, partition)

    def until(self, end: int) -> "PartitionLog":
        """The part of it that is before an offset."""
        return PartitionLog(self._consumer, self.partition, self.first, min(end, self.end))

    async def batches(self, start: int | None = None) -> AsyncIterator[list[ConsumerRecord]]:
        """The records from an offset on, as they arrive; a batch is empty where none did for 0.2 s.

        Args:
            start: Where to begin; None: at the first.
        """
        # An assignment looks for a position by itself first, and would overwrite one that is set before it is done.
        await self._consumer.position(self._assigned)
        self._consumer.seek(self._assigned, self.first if start is None else max(start, self.first))
        while await self._consumer.position(self._assigned) < self.end:
            found = await self._consumer.getmany(self._assigned, timeout_ms=_POLL_MS)
            yield [record for record in found.get(self._assigned, ()) if record.offset < self.end]

    async def corrections(self, partitions: int) -> dict[bytes, Amendments]:
        """The trade corrections of each account, by the key of its records.

        Args:
            partitions: How many partitions the log has.
        """
        found: dict[bytes, list[tuple[LogPosition, TradeCorrection]]] = {}
        reporting: dict[bytes, str | None] = {}
        async for batch in self.batches():
            for record in batch:
                key = record.key or b""
                where = LogPosition(record.partition, record.offset)
                if reporting.get(key) is None:
                    reporting[key] = read_reporting(key, record.value, position=where, partitions=partitions)
                read = read_correction(key, record.value, position=where, partitions=partitions)
                if read is not None and read[0] == reporting[key]:
                    found.setdefault(key, []).append((where, read[1]))
        return {key: Amendments(corrections) for key, corrections in found.items()}

    async def fold(
        self,
        account: str,
        partitions: int,
        *,
        amendments: Amendments = NO_AMENDMENTS,
        on_step: OnStep = lambda _record, _step: None,
    ) -> Book | None:
        """Fold what the log says of an account, with every correction that it has.

        Args:
            account: The account.
            partitions: How many partitions the log has.
            amendments: Corrections that are known already, those that are still to be published included.
            on_step: Called with each of its records and what became of it; from the first one again where a correction
                is found on the way.

        Returns:
            The book; None where the log says nothing of the account.
        """
        while True:
            book: Book | None = None
            async for record, step in self.steps(account, partitions, amendments=amendments):
                if isinstance(step, NeedsRefold):
                    break
                on_step(record, step)
                book = step.book if isinstance(step, Outcome) else book
            else:
                return book
            amendments = (await self.corrections(partitions))[account.encode()]

    async def steps(
        self,
        account: str,
        partitions: int,
        *,
        amendments: Amendments = NO_AMENDMENTS,
        book: Book | None = None,
        start: int | None = None,
    ) -> AsyncIterator[tuple[ConsumerRecord, Outcome | Rejected | NeedsRefold]]:
        """Each record of an account, and what became of it.

        Args:
            account: The account.
            partitions: How many partitions the log has.
            amendments: Its trade corrections.
            book: The book before the first record.
            start: Where to begin; None: at the first record.
        """
        key = account.encode()
        async for batch in self.batches(start):
            for record in batch:
                if record.key != key:
                    continue
                step = fold_record(
                    key,
                    record.value,
                    position=LogPosition(record.partition, record.offset),
                    book=book,
                    partitions=partitions,
                    amendments=amendments,
                )
                book = step.book if isinstance(step, Outcome) else book
                yield record, step
            # Whoever shares the event loop has a turn after each batch.
            await asyncio.sleep(0)

    async def accounts(self) -> set[str]:
        """The accounts that have records."""
        keys = {record.key async for batch in self.batches() for record in batch if record.key is not None}
        return {account for key in keys if (account := _account_of(key)) is not None}

    async def has_corrections(self, account: str, start: int, known: Container[int] = ()) -> bool:
        """Whether there is a record of an account from an offset on that somebody, not the exchange, is the author of.

        Args:
            account: The account.
            start: Where to begin.
            known: Offsets of records that do not count.
        """
        key = account.encode()
        async for batch in self.batches(start):
            authored = (each for each in batch if each.key == key and _AUTHOR in (each.value or b""))
            if any(each.offset not in known for each in authored):
                return True
        return False


@asynccontextmanager
async def open_log(settings: Settings, partition: int, end: int | None = None) -> AsyncIterator[PartitionLog]:
    """Read a partition of the log with a consumer of its own, in no group.

    Args:
        settings: How to reach the brokers.
        partition: Which one.
        end: Where to end; None: where the log ends at this moment.

    Raises:
        aiokafka.errors.KafkaError, OSError: Kafka does not answer.
    """
    assigned = TopicPartition(ACCOUNT_EVENTS.name, partition)
    async with reading(settings, [assigned]) as consumer:
        first = (await consumer.beginning_offsets([assigned]))[assigned]
        if end is None:
            end = (await consumer.end_offsets([assigned]))[assigned]
        yield PartitionLog(consumer, partition, first, end)


def _account_of(key: bytes) -> str | None:
    try:
        return read_account(key)
    except UnreadableRecord:
        return None
