"""The sink: journal and marks to Postgres, in batches.

Postgres itself remembers, in the transaction that writes the data, which record of the journal comes next. So after
each assignment the sink reads on from there, whatever the consumer group says, and a journal record is written once
and never left out. While Postgres is away the records wait in Kafka.

It is a service with a consumer of its own rather than a Faust agent. Measured: with the database away, an agent's
buffer fills, Faust's conductor waits for room in it, and with it every other agent of the worker stands still; the
ledger applied none of 3,000 records in a minute.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from mode import Service

from infra.backoff import backoff_s
from infra.postgres.errors import DatabaseError
from infra.postgres.writer import LogRef, Writer
from infra.settings import Settings, load_settings
from infra.telemetry.metrics import SINK_ERRORS
from portfolio.snapshots import AccountSnapshot, LedgerUpdate
from streams import topics
from streams.app import app
from streams.connection import client_options
from streams.live import LiveTeller
from streams.records import UnreadableRecord, journal_records, pnl_records
from streams.telemetry import note_written, sink_lag

logger = logging.getLogger(__name__)

GROUP = "portfolio-sink"

_RECORDS_MAX = 500
_FETCH_BYTES_MAX = 8 * 1024 * 1024
_POLL_MS = 500
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MAX_S = 10.0

Batch = Mapping[TopicPartition, Sequence[ConsumerRecord]]


@app.service
class PostgresSink(Service):
    """Carries the journal, and what marks make of accounts, to Postgres."""

    @Service.task
    async def _carry(self) -> None:
        """Carry until the worker stops; whatever goes wrong, begin again where Postgres says."""
        settings = load_settings()
        attempt = 0
        while not self.should_stop:
            try:
                async with Writer(settings.database_dsn) as writer:
                    await self._consume(settings, writer)
            except (DatabaseError, KafkaError, OSError) as error:
                logger.warning("nothing is written to Postgres, trying again: %s", error)
            except Exception:
                # The books do not depend on it: the ledger goes on, and the copy in Postgres falls behind, visibly.
                logger.exception("the sink cannot write a record; Postgres stays behind until the cause is removed")
            else:
                attempt = 0
                continue
            SINK_ERRORS.inc()
            await self.sleep(backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S))
            attempt += 1

    async def _consume(self, settings: Settings, writer: Writer) -> None:
        # Before anything is read: a database that is away should not take part in the group.
        await writer.next_offsets(topics.JOURNAL.name)
        consumer = AIOKafkaConsumer(
            **client_options(settings),
            group_id=GROUP,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=_RECORDS_MAX,
            fetch_max_bytes=_FETCH_BYTES_MAX,
            max_partition_fetch_bytes=_FETCH_BYTES_MAX,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
        )
        consumer.subscribe([topics.JOURNAL.name, topics.PNL.name], listener=_ReadOn(consumer, writer))
        live = LiveTeller(settings.redis_dsn)
        try:
            await consumer.start()
            while not self.should_stop:
                batch = await consumer.getmany(timeout_ms=_POLL_MS)
                if batch:
                    told = await write_batch(writer, batch)
                    await _commit(consumer, batch)
                    await live.tell([update for _, update in told.updates], told.snapshots)
        finally:
            await live.close()
            await consumer.stop()


async def _commit(consumer: AIOKafkaConsumer, batch: Batch) -> None:
    """Tell the group how far the batch went; it is what operators see of the lag, and nothing depends on it.

    A commit fails when the group is at a rebalance. The consumer joins again by itself; to leave and come back as a new
    member would make one more rebalance, at which the commits of the others fail: with three workers, each that was
    killed could set off such a series.
    """
    try:
        await consumer.commit({tp: records[-1].offset + 1 for tp, records in batch.items()})
    except (CommitFailedError, IllegalStateError) as error:
        logger.info("how far the sink has come is told after the rebalance: %s", error)


# aiokafka is not typed
class _ReadOn(ConsumerRebalanceListener):  # type: ignore[misc]
    """Moves each newly assigned partition of the journal to where Postgres stands."""

    def __init__(self, consumer: AIOKafkaConsumer, writer: Writer) -> None:
        self._consumer = consumer
        self._writer = writer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Stop measuring. What is being written is written whole, and writing it twice changes nothing."""
        for tp in revoked:
            if tp.topic == topics.JOURNAL.name:
                sink_lag.forget(tp.partition)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Read on where Postgres stands; where it has nothing, from the beginning."""
        journal = [tp for tp in assigned if tp.topic == topics.JOURNAL.name]
        if not journal:
            return
        next_offsets = await self._writer.next_offsets(topics.JOURNAL.name)
        beginnings = await self._consumer.beginning_offsets(journal)
        for tp in journal:
            wanted = next_offsets.get(tp.partition, beginnings[tp])
            if wanted < beginnings[tp]:
                logger.critical(
                    "%s[%d] begins at offset %d, but Postgres has only what is before %d: it stays incomplete until "
                    "it is rebuilt from the log",
                    tp.topic,
                    tp.partition,
                    beginnings[tp],
                    wanted,
                )
            self._consumer.seek(tp, max(wanted, beginnings[tp]))
            sink_lag.begin(tp.partition, max(wanted, beginnings[tp]))


class Told(NamedTuple):
    """What a batch of records tells.

    Attributes:
        updates: Of the journal, each with where it was read.
        snapshots: What marks made of accounts; what a change of the book made of one is in the journal.
    """

    updates: list[tuple[LogRef, LedgerUpdate]]
    snapshots: list[AccountSnapshot]


async def write_batch(writer: Writer, batch: Batch) -> Told:
    """Write records of the journal and of pnl in one transaction."""
    told = read_batch(batch)
    if told.updates or told.snapshots:
        began_ns = time.time_ns()
        await writer.write(told.updates, told.snapshots)
        note_written(batch, began_ns, time.time_ns())
    return told


def read_batch(batch: Batch) -> Told:
    """What the records of the journal and of pnl tell."""
    updates: list[tuple[LogRef, LedgerUpdate]] = []
    snapshots: list[AccountSnapshot] = []
    for tp, records in batch.items():
        for record in records:
            try:
                if tp.topic == topics.JOURNAL.name:
                    update = journal_records.decode(record.value).update
                    updates.append((LogRef(tp.topic, tp.partition, record.offset), update))
                else:
                    pnl = pnl_records.decode(record.value)
                    if pnl.cause == "marks":
                        snapshots.append(pnl.snapshot)
            except UnreadableRecord as error:
                # Both topics are written by the ledger alone; a stranger's record is no loss.
                logger.error("%s[%d]@%d is left out: %s", tp.topic, tp.partition, record.offset, error)  # noqa: TRY400
    return Told(updates, snapshots)
