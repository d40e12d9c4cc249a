"""The sink: journal and marks to Postgres, in batches.

Postgres itself remembers, in the transaction that writes the data, which record of the journal comes next. So after
each assignment the sink reads on from there, whatever the consumer group says, and a journal record is written once
and never left out. While Postgres is away the records wait in Kafka; a partition whose records Kafka did not keep long
enough stands still (`streams.journal_places`).

It is a service with a consumer of its own rather than a Faust agent. Measured: with the database away, an agent's
buffer fills, Faust's conductor waits for room in it, and with it every other agent of the worker stands still; the
ledger applied none of 3,000 records in a minute.
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from mode import Service

from infra.backoff import backoff_s
from infra.postgres.errors import DatabaseError, DatabaseUnavailable, describe
from infra.postgres.writer import LogRef, Writer
from infra.redis.sink_problems import SinkProblems
from infra.settings import Settings, load_settings
from infra.telemetry.metrics import SINK_ERRORS
from portfolio.snapshots import AccountSnapshot, LedgerUpdate
from streams import topics
from streams.app import app
from streams.connection import client_options
from streams.journal_places import LOOK_AGAIN_S, JournalPlaces, JournalSkipped
from streams.live import LiveTeller
from streams.records import UnreadableRecord, journal_records, pnl_records
from streams.telemetry import note_written

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

    def __post_init__(self) -> None:
        """Nothing has been tried, and no partition is known."""
        self._attempt = 0
        self._partitions: Collection[int] = ()

    @Service.task
    async def _carry(self) -> None:
        """Carry until the worker stops; whatever goes wrong, begin again where Postgres says."""
        settings = load_settings()
        problems = SinkProblems(settings.redis_dsn)
        try:
            while not self.should_stop:
                await self._try(settings, problems)
        finally:
            await problems.close()

    async def _try(self, settings: Settings, problems: SinkProblems) -> None:
        """Carry until the worker stops, or something goes wrong; then wait a while."""
        try:
            async with Writer(settings.database_dsn) as writer:
                await self._consume(settings, writer, problems)
        except (DatabaseUnavailable, KafkaError, OSError, JournalSkipped) as error:
            logger.warning("nothing is written to Postgres, trying again: %s", error)
        except DatabaseError as error:
            logger.error("nothing is written to Postgres, trying again: %s", error)  # noqa: TRY400 - it says all
            await self._tell(problems, error)
        except Exception as error:
            # The books do not depend on it: the ledger goes on, and the copy in Postgres falls behind, visibly.
            logger.exception("the sink cannot write a record; Postgres stays behind until the cause is removed")
            await self._tell(problems, error)
        else:
            return
        SINK_ERRORS.inc()
        await self.sleep(backoff_s(self._attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S))
        self._attempt += 1

    async def _tell(self, problems: SinkProblems, error: Exception) -> None:
        """Let the status say that none of this sink's partitions gets on."""
        text = f"nothing is written to Postgres: {describe(error)}"
        await problems.tell(self._partitions, dict.fromkeys(self._partitions, text))

    async def _consume(self, settings: Settings, writer: Writer, problems: SinkProblems) -> None:
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
        places = JournalPlaces(consumer, writer)
        consumer.subscribe([topics.JOURNAL.name, topics.PNL.name], listener=places)
        live = LiveTeller(settings.redis_dsn)
        try:
            await consumer.start()
            tells_again_at = time.monotonic() + LOOK_AGAIN_S
            while not self.should_stop:
                await places.check()
                batch = await consumer.getmany(timeout_ms=_POLL_MS)
                if batch:
                    places.follow(batch)
                    told = await write_batch(writer, batch)
                    places.note_stored(ref for ref, _ in told.updates)
                    await _commit(consumer, batch)
                    await live.tell([update for _, update in told.updates], told.snapshots)
                    self._attempt = 0
                if time.monotonic() >= tells_again_at:
                    await problems.tell(places.partitions, {number: str(gap) for number, gap in places.gaps.items()})
                    tells_again_at = time.monotonic() + LOOK_AGAIN_S
        finally:
            self._partitions = places.partitions
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
