"""The account's part of the log of record: read what was published, publish what is new."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from opentelemetry.trace import SpanKind

from infra.backoff import backoff_s
from infra.errors import RemediableError
from infra.portfolio_file import AccountConfig
from infra.settings import Settings
from infra.telemetry.metrics import GATEWAY_PUBLISHED
from infra.telemetry.traces import span, trace_headers
from portfolio import Book, Outcome
from portfolio.events import Event, Reclassification
from streams.account_log import Rejected
from streams.connection import client_options
from streams.gateway.published import Published
from streams.log_reader import open_log
from streams.records import (
    EVENTS_PER_PAGE_MAX,
    AccountEvents,
    DeadLetter,
    account_events,
    dead_letters,
)
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS

log = logging.getLogger(__name__)

_DELIVERY_TIMEOUT_MS = 30_000
_REQUEST_BYTES_MAX = 1_000_000
_RETRY_BACKOFF_MS = 250
_STOP_TIMEOUT_S = 1.0
_BACKOFF_FIRST_S = 0.5
_BACKOFF_MAX_S = 2.0
_PROGRESS_EVENTS = 100_000
_USER_STREAM = "binance:user-data"


class LogUnavailable(ConnectionError):
    """Kafka did not take or give a record in time; what it has must be read again before more is published."""


@asynccontextmanager
async def open_producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """An idempotent producer that waits for all replicas; it tries to start until the brokers answer.

    It is not transactional: the offsets of the log must have no gaps, because the ledger counts them.
    """
    attempt = 0
    while True:
        producer = AIOKafkaProducer(
            **client_options(settings),
            enable_idempotence=True,
            acks="all",
            compression_type="lz4",
            request_timeout_ms=_DELIVERY_TIMEOUT_MS,
            max_request_size=_REQUEST_BYTES_MAX,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
        )
        try:
            await producer.start()
            break
        except KafkaError as error:
            await producer.stop()
            wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
            log.warning("Kafka at %s does not answer (%s); next attempt in %.1f s", settings.brokers, error, wait_s)
            attempt += 1
            await asyncio.sleep(wait_s)
    try:
        yield producer
    finally:
        # Stopping waits for what is on its way. What is given up is published again, and rejected if it did arrive.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await producer.stop()


class AccountLog:
    """Publishes an account's events in order, and knows what was published.

    One record is on its way at a time. A producer that pipelines could drop one record after its timeout and still
    deliver the next, which would leave a hole that no cursor shows; events that wait meanwhile share the next page.

    Attributes:
        published: What the log says of the account, this instance's own records included.
    """

    def __init__(self, settings: Settings, account: AccountConfig, producer: AIOKafkaProducer) -> None:
        """Prepare; `recover` must come first.

        Args:
            settings: The brokers.
            account: Whose events.
            producer: A started producer of `open_producer`.
        """
        self.published = Published()
        self._settings = settings
        self._account = account
        self._producer = producer
        self._key = account.name.encode()
        self._read_up_to = 0
        self._own_corrections: set[int] = set()

    async def recover(self) -> None:
        """Read what the log says of the account, from its beginning to its end at this moment.

        Raises:
            LogUnavailable: Kafka does not answer.
            RemediableError: The log was written in another reporting currency.
        """
        number, partitions = await self._partition()
        try:
            async with open_log(self._settings, number) as whole:
                book = await whole.fold(self._account.name, partitions, on_step=_note_progress)
                self._read_up_to = whole.end
                self._own_corrections.clear()
        except (KafkaError, OSError) as error:
            raise LogUnavailable(f"the log cannot be read: {error!r}") from error
        if book is not None:
            self._require_reporting(book)
            self._require_cash_assets(book)
        self.published = Published.of_book(book) if book is not None else Published()
        log.info("recovered account %s from the log: %d events", self._account.name, self.published.events)

    def _require_cash_assets(self, book: Book) -> None:
        configured = self._account.cash_assets - {self._account.reporting}
        if configured != set(book.cash_assets):
            raise RemediableError(
                f"the log of account {book.account} takes {','.join(book.cash_assets)} for cash, "
                f"but {','.join(sorted(configured))} is set",
                f"Set PORTFOLIO_CASH_ASSETS={','.join(book.cash_assets)} (or cash_assets in its table of "
                "portfolio.toml), or follow it under another name",
            )

    async def note_corrections(self) -> None:
        """Take in what people have corrected or adjusted since the log was read last.

        It changes what the ledger holds; without it the exchange's balances, which the same has moved, would be taken
        for flows.

        Raises:
            LogUnavailable: Kafka does not answer.
        """
        number, _ = await self._partition()
        try:
            async with open_log(self._settings, number) as whole:
                is_corrected = await whole.has_corrections(self._account.name, self._read_up_to, self._own_corrections)
                self._read_up_to = whole.end
                self._own_corrections = {offset for offset in self._own_corrections if offset >= whole.end}
        except (KafkaError, OSError) as error:
            raise LogUnavailable(f"the log cannot be read: {error!r}") from error
        if is_corrected:
            log.info("account %s was corrected: reading its log again", self._account.name)
            await self.recover()

    def _require_reporting(self, book: Book) -> None:
        if book.reporting != self._account.reporting:
            raise RemediableError(
                f"the log of account {book.account} is kept in {book.reporting}, "
                f"but its reporting currency is set to {self._account.reporting}",
                f"Set PORTFOLIO_REPORTING={book.reporting} (or reporting in its table of portfolio.toml), "
                "or follow it under another name",
            )

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish events in their order, in pages of up to 1,000; what was published before is left out.

        Raises:
            LogUnavailable: Kafka did not confirm a page. Whether it has it is not known: recover first.
        """
        fresh = self._fresh(events)
        for start in range(0, len(fresh), EVENTS_PER_PAGE_MAX):
            await self._publish_page(fresh[start : start + EVENTS_PER_PAGE_MAX])

    def _fresh(self, events: Sequence[Event]) -> list[Event]:
        # Events of one call never repeat one another, so the log as it was decides.
        return [event for event in events if self.published.is_new(event)]

    async def _publish_page(self, events: Sequence[Event]) -> None:
        record = AccountEvents(
            account=self._account.name,
            reporting=self._account.reporting,
            cash_assets=tuple(sorted(self._account.cash_assets - {self._account.reporting})),
            source=self._account.source,
            events=tuple(events),
        )
        value = account_events.encode(record)
        if len(value) > _REQUEST_BYTES_MAX * 9 // 10 and len(events) > 1:
            middle = len(events) // 2
            await self._publish_page(events[:middle])
            await self._publish_page(events[middle:])
            return
        known: dict[str, str | int] = {
            "account": self._account.name,
            "events": len(events),
            "exchange_time_us": events[-1].time_us,
        }
        try:
            with span("gateway", SpanKind.PRODUCER, attributes=known):
                told = await self._producer.send_and_wait(
                    ACCOUNT_EVENTS.name, value, key=self._key, headers=trace_headers()
                )
        except (KafkaError, OSError) as error:
            raise LogUnavailable(f"the log did not take a page of {len(events)}: {error!r}") from error
        if any(isinstance(event, Reclassification) for event in events):
            self._own_corrections.add(told.offset)
        self.published.add_new(events)
        for event in events:
            GATEWAY_PUBLISHED.labels(self._account.name, event.__struct_config__.tag).inc()

    async def keep_raw(self, frame: str | bytes, reason: str, time_us: int) -> None:
        """Keep a frame of the user stream that could not be read, as a dead letter.

        Raises:
            LogUnavailable: Kafka did not confirm it.
        """
        letter = DeadLetter(
            topic=_USER_STREAM,
            partition=-1,
            offset=-1,
            reason=reason,
            time_us=time_us,
            key=self._key,
            value=frame.encode(errors="replace") if isinstance(frame, str) else frame,
        )
        await self.keep(letter)

    async def keep(self, letter: DeadLetter) -> None:
        """Keep what cannot be published.

        Raises:
            LogUnavailable: Kafka did not confirm it.
        """
        try:
            await self._producer.send_and_wait(DEAD_LETTERS.name, dead_letters.encode(letter), key=self._key)
        except (KafkaError, OSError) as error:
            raise LogUnavailable(f"a dead letter was not taken: {error!r}") from error

    async def _partition(self) -> tuple[int, int]:
        """The partition of the account, by the partitioner that all producers share, and how many there are."""
        partitions = sorted(await self._producer.partitions_for(ACCOUNT_EVENTS.name))
        return int(DefaultPartitioner()(self._key, partitions, partitions)), len(partitions)


def _note_progress(message: ConsumerRecord, step: Outcome | Rejected) -> None:
    """The ledger's own fold decides, so that what it left out as a dead letter counts as never published here too."""
    if isinstance(step, Rejected):
        log.warning("offset %d of the log is no part of the books: %s", message.offset, step.reason)
    elif (step.book.sequence - len(step.booked)) // _PROGRESS_EVENTS != step.book.sequence // _PROGRESS_EVENTS:
        log.info("reading the log: %d events so far", step.book.sequence)
