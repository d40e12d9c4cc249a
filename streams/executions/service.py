"""From Redis to Kafka: executions that bots announce, each published before its entry is acknowledged.

Beside it, from Kafka to Postgres, and there against the exchange's fills.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from infra.backoff import backoff_s
from infra.cancellation import run_together
from infra.portfolio_file import AccountConfig, load_accounts
from infra.postgres.executions import ExecutionStore
from infra.redis.client import RedisAway
from infra.redis.events import ChannelMessage, StreamEntry, StreamReader, subscribed
from infra.settings import Settings
from infra.telemetry.metrics import EXECUTIONS_CARRIED
from infra.telemetry.sharing import share_metrics
from streams.creation import ensure_topics
from streams.executions.check import Checker
from streams.executions.decoding import UnreadableExecution, decode_execution, place_of, raw_value
from streams.executions.records import execution_records
from streams.executions.sink import run_sink
from streams.gateway.log import open_producer
from streams.records import DeadLetter, dead_letters
from streams.topics import DEAD_LETTERS, EXECUTION_FINDINGS, EXECUTIONS

log = logging.getLogger(__name__)

_T = TypeVar("_T")

GROUP: Final = "portfolio-executions"
"""Name of the consumer group in Redis."""

_BACKOFF_FIRST_S: Final = 0.25
_BACKOFF_MAX_S: Final = 10.0
_KEPT_BYTES_MAX: Final = 256 * 1024
_TEXT_MAX: Final = 1_000


class _Record(NamedTuple):
    topic: str
    key: bytes
    value: bytes


async def run_executions(settings: Settings, *, consumer: str, claim_after_s: float) -> None:
    """Carry executions and compare them with the fills until cancelled.

    Redis, Kafka or Postgres may be away: it waits, and loses nothing of a stream.

    Args:
        settings: Addresses, streams and channel patterns, the account of what names none.
        consumer: Name of this process in the consumer group; one that takes its place finds its pending entries.
        claim_after_s: How long an entry is pending before its consumer counts as dead.

    Raises:
        RemediableError: A topic is not as the service needs it.
    """
    accounts = load_accounts(settings)
    await ensure_topics(settings, on_wait=log.warning, specs=(EXECUTIONS, EXECUTION_FINDINGS, DEAD_LETTERS))
    store = ExecutionStore(settings.database_dsn)
    checker = Checker(
        store,
        grace_s=settings.execution_grace_s,
        booked_accounts=frozenset(account.name for account in accounts if account.source == "executions"),
    )
    try:
        async with open_producer(settings) as producer:
            carrier = _Carrier(settings, default_account(settings, accounts), producer)
            await run_together(
                *([carrier.carry_streams(consumer, claim_after_s)] if settings.execution_streams else []),
                *([carrier.carry_channels()] if settings.execution_channels else []),
                share_metrics(settings.redis_dsn, "executions"),
                run_sink(settings, store),
                checker.run(producer),
            )
    finally:
        await store.close()


def default_account(settings: Settings, accounts: Sequence[AccountConfig]) -> str:
    """The account of what names none: the one of the settings, or else the first one of portfolio.toml."""
    names = [account.name for account in accounts]
    return settings.account if settings.account in names else names[0]


class _Carrier:
    def __init__(self, settings: Settings, account: str, producer: AIOKafkaProducer) -> None:
        self._settings = settings
        self._account = account
        self._producer = producer

    async def carry_streams(self, consumer: str, claim_after_s: float) -> None:
        settings = self._settings
        reader = StreamReader(
            settings.redis_dsn,
            settings.execution_streams,
            group=GROUP,
            consumer=consumer,
            claim_after_ms=int(claim_after_s * 1_000),
        )
        log.info("reading %s as %s", ", ".join(sorted(settings.execution_streams)), consumer)
        try:
            while True:
                entries = await _persistently("read", reader.read)
                if entries:
                    await self._publish(entries)
                    await _persistently("acknowledge", partial(reader.acknowledge, entries))
        finally:
            await reader.close()

    async def carry_channels(self) -> None:
        patterns = sorted(self._settings.execution_channels)
        attempt = 0
        while True:
            try:
                async with subscribed(self._settings.redis_dsn, patterns) as messages:
                    log.info("subscribed to %s", ", ".join(patterns))
                    attempt = 0
                    async for message in messages:
                        await self._publish([message])
            except RedisAway as error:
                await _back_off("follow channels of Redis", error, attempt)
                attempt += 1

    async def _publish(self, announced: Sequence[StreamEntry | ChannelMessage]) -> None:
        """Publish, and return once the brokers have all of it; tried again, some of it may be there twice."""
        records = [record for each in announced if (record := self._record(each)) is not None]
        attempt = 0
        while True:
            try:
                pending = [await self._producer.send(each.topic, each.value, key=each.key) for each in records]
                for result in await asyncio.gather(*pending, return_exceptions=True):
                    if isinstance(result, BaseException):
                        raise result
            except (KafkaError, OSError) as error:
                await _back_off("publish to Kafka", error, attempt)
                attempt += 1
            else:
                return

    def _record(self, announced: StreamEntry | ChannelMessage) -> _Record | None:
        try:
            execution = decode_execution(announced, self._account)
        except UnreadableExecution as error:
            EXECUTIONS_CARRIED.labels("dead_letter").inc()
            return _dead_letter(announced, str(error))
        if execution is None:
            EXECUTIONS_CARRIED.labels("ignored").inc()
            log.debug("%s: no execution", place_of(announced))
            return None
        EXECUTIONS_CARRIED.labels("carried").inc()
        return _Record(EXECUTIONS.name, execution.account.encode(), execution_records.encode(execution))


def _dead_letter(announced: StreamEntry | ChannelMessage, reason: str) -> _Record:
    # The name of a channel and the text of an error may hold whatever somebody sent.
    place, reason, value = place_of(announced)[:_TEXT_MAX], reason[:_TEXT_MAX], raw_value(announced)
    where = f"{place} {announced.entry_id}" if isinstance(announced, StreamEntry) else place
    log.error("what was announced on %s goes to %s: %s", where, DEAD_LETTERS.name, reason)
    if len(value) > _KEPT_BYTES_MAX:
        reason += f" (cut to {_KEPT_BYTES_MAX} of {len(value)} bytes)"
        value = value[:_KEPT_BYTES_MAX]
    key = announced.entry_id.encode() if isinstance(announced, StreamEntry) else None
    letter = DeadLetter(
        topic=place, partition=-1, offset=-1, reason=reason, time_us=time.time_ns() // 1_000, key=key, value=value
    )
    return _Record(DEAD_LETTERS.name, key or place.encode(), dead_letters.encode(letter))


async def _persistently(what: str, act: Callable[[], Awaitable[_T]]) -> _T:
    attempt = 0
    while True:
        try:
            return await act()
        except RedisAway as error:
            await _back_off(f"{what} entries of Redis", error, attempt)
            attempt += 1


async def _back_off(what: str, error: Exception, attempt: int) -> None:
    wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
    log.warning("cannot %s (%s); next attempt in %.1f s", what, str(error) or type(error).__name__, wait_s)
    await asyncio.sleep(wait_s)
