"""Where the sink reads the journal on, and whether all that it needs is still there.

Postgres says which record of each partition comes next. Records that the journal no longer has are not passed over: the
accounts of such a partition stand still, visibly, until `portfolio rebuild` has made their tables from the log and
moved the place to where the journal begins. The other partitions go on meanwhile.
"""

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from infra.postgres.errors import DatabaseError
from infra.postgres.writer import LogRef, Writer
from streams.journal_gaps import Gap, find_gaps
from streams.telemetry import sink_lag
from streams.topics import JOURNAL

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0
"""How often it is looked whether Postgres is where it should be."""


class JournalSkipped(Exception):
    """A record of the journal came that is not the next one."""


# aiokafka is not typed
class JournalPlaces(ConsumerRebalanceListener):  # type: ignore[misc]
    """Moves each newly assigned partition of the journal to where Postgres stands.

    Attributes:
        gaps: Of the partitions that stand still.
    """

    def __init__(self, consumer: AIOKafkaConsumer, writer: Writer) -> None:
        """Prepare.

        Args:
            consumer: A member of the sink's group.
            writer: Knows where Postgres stands.
        """
        self.gaps: dict[int, Gap] = {}
        self._consumer = consumer
        self._writer = writer
        self._next: dict[int, int] = {}
        self._stored: dict[int, int] = {}
        self._failure: Exception | None = None
        self._looks_again_at = 0.0

    @property
    def partitions(self) -> Collection[int]:
        """The partitions of the journal that this sink has."""
        return self._next.keys() | self.gaps.keys()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Stop measuring. What is being written is written whole, and writing it twice changes nothing."""
        for tp in revoked:
            if tp.topic == JOURNAL.name:
                self._forget(tp.partition)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Find where to read on; until that is known nothing of them is read."""
        journal = [tp for tp in assigned if tp.topic == JOURNAL.name]
        self._consumer.pause(*journal)
        try:
            await self._begin(journal)
        except (DatabaseError, KafkaError, OSError) as error:
            # aiokafka would write it to the log and read on where the group stands; `check` raises it.
            self._failure = error

    async def check(self) -> None:
        """Look again, now and then: a gap may have been closed, and Postgres may have been restored from a backup.

        Raises:
            DatabaseError: Postgres did not say where it stands.
            KafkaError: The brokers did not say where the journal begins.
        """
        if self._failure is not None:
            raise self._failure
        if time.monotonic() < self._looks_again_at:
            return
        next_offsets = await self._writer.next_offsets(JOURNAL.name)
        went_back = [number for number, stored in self._stored.items() if next_offsets.get(number, 0) < stored]
        for partition in went_back:
            logger.warning("Postgres is not where it was: what %s[%d] told is written again", JOURNAL.name, partition)
        await self._begin([TopicPartition(JOURNAL.name, number) for number in [*went_back, *self.gaps]])

    def follow(self, batch: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """Make sure that nothing was passed over before records, and expect what follows them.

        The consumer moves to the first record that there is where the one that it wants has been removed.

        Raises:
            JournalSkipped: Something was.
        """
        for tp, records in batch.items():
            if tp.topic != JOURNAL.name:
                continue
            expected, first = self._next.get(tp.partition), records[0].offset
            if expected is not None and first > expected:
                raise JournalSkipped(f"{tp.topic}[{tp.partition}]: {expected} should come next, {first} came")
            self._next[tp.partition] = records[-1].offset + 1

    def note_stored(self, refs: Iterable[LogRef]) -> None:
        """Note which records of the journal were written."""
        for ref in refs:
            if ref.partition in self._stored:  # else a rebalance has taken it away meanwhile
                self._stored[ref.partition] = ref.offset + 1

    async def _begin(self, journal: Sequence[TopicPartition]) -> None:
        """Read partitions on where Postgres stands, if the journal still has what comes next."""
        self._looks_again_at = time.monotonic() + LOOK_AGAIN_S
        if not journal:
            return
        next_offsets = await self._writer.next_offsets(JOURNAL.name)
        beginnings = await self._consumer.beginning_offsets(journal)
        gaps = find_gaps(next_offsets, {tp.partition: first for tp, first in beginnings.items()})
        # Some may have gone away meanwhile.
        for tp in self._consumer.assignment().intersection(journal):
            wanted, known = next_offsets.get(tp.partition, 0), self.gaps.get(tp.partition)
            gap = gaps.get(tp.partition)
            if gap is not None and gap == known:
                continue
            self._forget(tp.partition)
            sink_lag.begin(tp.partition, wanted)
            if gap is not None:
                logger.critical("%s", gap)
                self.gaps[tp.partition] = gap
                self._consumer.pause(tp)
                continue
            if known is not None:
                logger.warning("%s[%d] goes on at offset %d", tp.topic, tp.partition, wanted)
            self._next[tp.partition] = self._stored[tp.partition] = wanted
            self._consumer.seek(tp, wanted)
            self._consumer.resume(tp)

    def _forget(self, partition: int) -> None:
        sink_lag.forget(partition)
        self._next.pop(partition, None)
        self._stored.pop(partition, None)
        self.gaps.pop(partition, None)
