"""Reading a topic from one end to the other, in no group."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from infra.settings import Settings
from streams.connection import client_options
from streams.topics import MESSAGE_BYTES_MAX, Partitions, TopicSpec

_POLL_MS = 500


@asynccontextmanager
async def reading(settings: Settings, partitions: Collection[TopicPartition] = ()) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer of the partitions, from their beginning; its owner commits nothing.

    Raises:
        KafkaError: The brokers do not answer.
    """
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=MESSAGE_BYTES_MAX,
    )
    try:
        await consumer.start()
        if partitions:
            consumer.assign(partitions)
        yield consumer
    finally:
        await consumer.stop()


def partitions_of(specs: Sequence[TopicSpec], settings: Settings) -> list[TopicPartition]:
    """Every partition of topics that `streams.creation.ensure_topics` has made sure of."""
    numbers = {Partitions.PER_BOOK: settings.partitions, Partitions.ONE: 1}
    return [TopicPartition(spec.name, number) for spec in specs for number in range(numbers[spec.partitions])]


async def until_now(consumer: AIOKafkaConsumer) -> AsyncIterator[ConsumerRecord]:
    """What the assigned partitions have at this moment, from where the consumer stands; each in its order.

    What comes meanwhile is what the consumer reads next.
    """
    ends = await consumer.end_offsets(list(consumer.assignment()))
    open_ends = {partition: end for partition, end in ends.items() if await consumer.position(partition) < end}
    while open_ends:
        for partition, records in (await consumer.getmany(*open_ends, timeout_ms=_POLL_MS)).items():
            for record in records:
                if record.offset < ends[partition]:
                    yield record
            if records[-1].offset >= ends[partition]:
                # One fetch may bring also what came later, and counts as read.
                consumer.seek(partition, ends[partition])
        # Not the last record's offset: what a transaction or a compaction left out has an offset too.
        open_ends = {partition: end for partition, end in open_ends.items() if await consumer.position(partition) < end}
