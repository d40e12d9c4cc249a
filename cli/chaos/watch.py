"""Listens to `portfolio.pnl` as a consumer would, and notes when it hears something."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from infra.settings import Settings
from streams.account_log import partition_of
from streams.connection import client_options
from streams.records import pnl_records
from streams.topics import PNL


class _Silence:
    """The longest time between two moments."""

    def __init__(self, now: float) -> None:
        self._last_at = now
        self._longest_s = 0.0

    def end(self, now: float) -> None:
        self._longest_s = max(self._longest_s, now - self._last_at)
        self._last_at = now

    def longest_s(self, now: float) -> float:
        return max(self._longest_s, now - self._last_at)


class PnlWatch:
    """What was heard so far, by account.

    Attributes:
        sequences: The newest event of each account that a record told of.
    """

    def __init__(self, accounts: Sequence[str]) -> None:
        self.sequences = dict.fromkeys(accounts, 0)
        self._last_book_at = dict.fromkeys(accounts, 0.0)
        self._event_times_us = dict.fromkeys(accounts, 0)
        self.begin()

    def begin(self) -> None:
        """Measure silence from now on."""
        now = time.monotonic()
        self._topic = _Silence(now)
        self._accounts = {account: _Silence(now) for account in self.sequences}

    @property
    def longest_silence_s(self) -> float:
        """The longest time without any record, from `begin` until now."""
        return self._topic.longest_s(time.monotonic())

    @property
    def longest_account_silence_s(self) -> float:
        """The longest time without a record of some one account, from `begin` until now."""
        now = time.monotonic()
        return max(silence.longest_s(now) for silence in self._accounts.values())

    def has_news_since(self, moment: float) -> bool:
        """Whether each account had a record that a new event caused, after a moment of the monotonic clock."""
        return all(at > moment for at in self._last_book_at.values())

    def tells_of_events_after(self, moment_us: int) -> bool:
        """Whether each account had a record of an event after a moment, by the exchange's clock."""
        return all(time_us > moment_us for time_us in self._event_times_us.values())

    def note(self, value: bytes) -> None:
        """Note a record that came just now."""
        snapshot = pnl_records.decode(value).snapshot
        now = time.monotonic()
        self._topic.end(now)
        self._accounts[snapshot.account].end(now)
        if snapshot.sequence > self.sequences[snapshot.account]:
            self.sequences[snapshot.account] = snapshot.sequence
            self._last_book_at[snapshot.account] = now
            self._event_times_us[snapshot.account] = snapshot.event_time_us


@asynccontextmanager
async def watched_pnl(settings: Settings, accounts: Sequence[str]) -> AsyncIterator[PnlWatch]:
    """Listen in the background, through whatever happens to the broker."""
    watch = PnlWatch(accounts)
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False, auto_offset_reset="latest")
    await consumer.start()
    consumer.assign({TopicPartition(PNL.name, partition_of(account, settings.partitions)) for account in accounts})
    listening = asyncio.create_task(_listen(consumer, watch))
    try:
        yield watch
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        await consumer.stop()


async def _listen(consumer: AIOKafkaConsumer, watch: PnlWatch) -> None:
    while True:
        try:
            batches = await consumer.getmany(timeout_ms=200)
        except KafkaError:
            await asyncio.sleep(0.2)
            continue
        for messages in batches.values():
            for message in messages:
                watch.note(message.value)
