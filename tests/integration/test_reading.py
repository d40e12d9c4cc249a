"""Reading a topic up to a moment, and on from there."""

import asyncio
import secrets
from collections.abc import Collection

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.settings import Settings
from streams.connection import client_options
from streams.creation import ensure_topics
from streams.gateway.log import open_producer
from streams.reading import until_now
from streams.topics import Partitions, TopicSpec

pytestmark = pytest.mark.integration


class Overtaken(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka is not typed
    """A consumer to whom another record comes, and is fetched with those before, once it knows where the end is."""

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        ends: dict[TopicPartition, int] = await super().end_offsets(partitions)
        async with open_producer(self.settings) as producer:
            for partition in partitions:
                await producer.send_and_wait(partition.topic, b"late", partition=partition.partition)
        await self.seek_to_beginning(*partitions)
        return ends


async def test_what_comes_while_it_reads_is_read_by_whoever_reads_on(kafka_brokers: str) -> None:
    settings = Settings(kafka_brokers=kafka_brokers)
    spec = TopicSpec(f"reading-{secrets.token_hex(4)}", "", "", retention_ms=86_400_000, partitions=Partitions.ONE)
    await ensure_topics(settings, on_wait=print, specs=[spec])
    partition = TopicPartition(spec.name, 0)
    async with open_producer(settings) as producer:
        for value in (b"first", b"second"):
            await producer.send_and_wait(spec.name, value, partition=0)
    consumer = Overtaken(**client_options(settings), enable_auto_commit=False, auto_offset_reset="earliest")
    consumer.settings = settings
    await consumer.start()
    try:
        consumer.assign([partition])
        assert [record.value async for record in until_now(consumer)] == [b"first", b"second"]
        async with asyncio.timeout(30):
            assert (await consumer.getone(partition)).value == b"late"
    finally:
        await consumer.stop()
