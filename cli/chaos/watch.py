"""Listens to `portfolio.pnl` as a consumer would, and notes when it hears something."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from infra.settings import Settings
from streams.account_log import partition_of
from streams.connection import client_options
from streams.records import pnl_records
from streams.topics import PNL


class PnlWatch:
    """What was heard so far.

    Attributes:
        last_book_at: When a record was heard that a new event caused; seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.last_book_at = 0.0
        self._sequence = 0
        self.begin()

    def begin(self) -> None:
        """Measure silence from now on."""
        self._last_at = time.monotonic()
        self._longest_s = 0.0

    @property
    def longest_silence_s(self) -> float:
        """The longest time without any record, from `begin` until now."""
        return max(self._longest_s, time.monotonic() - self._last_at)

    def note(self, value: bytes) -> None:
        """Note a record that came just now."""
        snapshot = pnl_records.decode(value).snapshot
        now = time.monotonic()
        self._longest_s = max(self._longest_s, now - self._last_at)
        self._last_at = now
        if snapshot.sequence > self._sequence:
            self._sequence = snapshot.sequence
            self.last_book_at = now


@asynccontextmanager
async def watched_pnl(settings: Settings) -> AsyncIterator[PnlWatch]:
    """Listen in the background, through whatever happens to the broker."""
    watch = PnlWatch()
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False, auto_offset_reset="latest")
    await consumer.start()
    partition = TopicPartition(PNL.name, partition_of(settings.account, settings.partitions))
    consumer.assign([partition])
    listening = asyncio.create_task(_listen(consumer, partition, watch))
    try:
        yield watch
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        await consumer.stop()


async def _listen(consumer: AIOKafkaConsumer, partition: TopicPartition, watch: PnlWatch) -> None:
    while True:
        try:
            batches = await consumer.getmany(partition, timeout_ms=200)
        except KafkaError:
            await asyncio.sleep(0.2)
            continue
        for message in batches.get(partition, ()):
            watch.note(message.value)
