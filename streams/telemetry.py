"""What a worker measures of its own work, beside the work."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from faust.types import Message
from opentelemetry.trace import SpanKind
from prometheus_client import Gauge

from infra.telemetry.lag import LagMeter
from infra.telemetry.metrics import (
    LEDGER_APPLY,
    LEDGER_DEAD_LETTERS,
    LEDGER_EVENTS,
    LEDGER_FILL_TO_PNL,
    LEDGER_LAG_RECORDS,
    LEDGER_LAG_SECONDS,
    LEDGER_RECORDS,
    SINK_LAG_RECORDS,
    SINK_LAG_SECONDS,
    SINK_RECORDS,
    SINK_WRITE,
)
from infra.telemetry.traces import cause_of, is_traced, note_span
from portfolio import Outcome
from portfolio.events import Fill
from streams import topics
from streams.account_log import Applied

LIVE_FILL_AGE_MAX_S: Final = 300.0
"""A fill that is older when it is booked comes from a history, and says nothing of how fast the service is."""

ledger_lag: Final = LagMeter()
"""How far the books are behind the log."""

sink_lag: Final = LagMeter()
"""How far Postgres is behind the journal."""


def note_applied(message: Message, step: Applied, took_s: float) -> None:
    """Count a record of the log that was booked, and what it came to."""
    note_passed(message)
    LEDGER_APPLY.observe(took_s)
    if step.outcome is not None:
        _count_events(step.outcome)


def note_rejected(messages: Sequence[Message]) -> None:
    """Count records of a partition of the log, one behind the other, that went to the dead letters."""
    LEDGER_DEAD_LETTERS.inc(len(messages))
    _note_dealt_with(messages[-1], len(messages))


def note_passed(message: Message) -> None:
    """Count a record of the log that was in the books before."""
    _note_dealt_with(message, 1)


def _note_dealt_with(last: Message, count: int) -> None:
    LEDGER_RECORDS.labels(str(last.partition)).inc(count)
    ledger_lag.note(last.partition, last.offset + 1, last.timestamp)


def _count_events(outcome: Outcome) -> None:
    LEDGER_EVENTS.labels("booked").inc(len(outcome.booked))
    LEDGER_EVENTS.labels("duplicate").inc(outcome.duplicates)
    LEDGER_EVENTS.labels("conflict").inc(len(outcome.conflicts))
    now_s = time.time()
    for booked in outcome.booked:
        if isinstance(booked.event, Fill):
            age_s = now_s - booked.event.time_us / 1_000_000
            if age_s <= LIVE_FILL_AGE_MAX_S:
                # The exchange's clock may be a little ahead of ours.
                LEDGER_FILL_TO_PNL.observe(max(0.0, age_s))


def note_written(batch: Mapping[TopicPartition, Sequence[ConsumerRecord]], began_ns: int, ended_ns: int) -> None:
    """Count records that were written to Postgres in one transaction, and end the traces that they belong to.

    Args:
        batch: The records.
        began_ns: When the writing began; epoch nanoseconds.
        ended_ns: When it ended.
    """
    SINK_WRITE.observe((ended_ns - began_ns) / 1e9)
    for tp, records in batch.items():
        SINK_RECORDS.labels(tp.topic).inc(len(records))
        if tp.topic != topics.JOURNAL.name:
            continue
        sink_lag.note(tp.partition, records[-1].offset + 1, records[-1].timestamp / 1_000)
        for record in records:
            cause = cause_of(record.headers)
            if is_traced(cause):
                attributes = {
                    "account": (record.key or b"").decode(errors="replace"),
                    "log_position": f"{tp.topic}[{tp.partition}]@{record.offset}",
                }
                note_span(
                    "sink", SpanKind.CONSUMER, parent=cause, began_ns=began_ns, ended_ns=ended_ns, attributes=attributes
                )


async def measure_lags(consumer: AIOKafkaConsumer, own: Mapping[int, int]) -> None:
    """Measure how far the books are behind the log, and Postgres behind the journal.

    Args:
        consumer: Whom to ask where the topics end; its own place does not matter.
        own: The partitions of the log that this worker has, each with where the group went on with it.

    Raises:
        KafkaError: The brokers do not answer.
    """
    for partition in set(ledger_lag.partitions) - set(own):
        ledger_lag.forget(partition)
    for partition, next_offset in own.items():
        if partition not in ledger_lag.partitions:
            ledger_lag.begin(partition, next_offset)
    log, journal = topics.ACCOUNT_EVENTS.name, topics.JOURNAL.name
    wanted = [*(TopicPartition(log, number) for number in own)]
    wanted += [TopicPartition(journal, number) for number in sink_lag.partitions]
    ends = await consumer.end_offsets(wanted)
    _tell(ledger_lag, {tp.partition: end for tp, end in ends.items() if tp.topic == log}, _LEDGER_GAUGES)
    _tell(sink_lag, {tp.partition: end for tp, end in ends.items() if tp.topic == journal}, _SINK_GAUGES)


_LEDGER_GAUGES: Final = (LEDGER_LAG_RECORDS, LEDGER_LAG_SECONDS)
_SINK_GAUGES: Final = (SINK_LAG_RECORDS, SINK_LAG_SECONDS)


def _tell(meter: LagMeter, ends: Mapping[int, int], gauges: tuple[Gauge, Gauge]) -> None:
    known: Collection[int] = meter.partitions
    records, seconds = gauges
    records.clear()
    seconds.clear()
    for partition, end in ends.items():
        if partition in known:  # else it went away while the brokers were asked
            lag = meter.measure(partition, end, time.time())
            records.labels(str(partition)).set(lag.records)
            seconds.labels(str(partition)).set(lag.seconds)
