"""Executions booked: for an account without access to the exchange, what its bots announce is the authority.

They go from `portfolio.executions` to the log of record, as fills with the rates that they need. The trade id of such a
fill is the offset of its execution, so the log itself tells where to go on, the order is that of the topic, and
whoever books an execution again books the same. Which announcements repeat an earlier one is told by their identity,
within what the topic keeps.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from msgspec.structs import replace

from infra.binance.catalogue import Catalogue
from infra.binance.errors import UnknownSymbol
from infra.binance.prices import DAY_MS
from infra.errors import RemediableError
from infra.portfolio_file import AccountConfig
from infra.settings import Settings
from portfolio.errors import InvalidEvent, PortfolioError
from portfolio.events import Event, Fill, Flow, FlowKind
from portfolio.money import ZERO
from streams.account_log import partition_of
from streams.connection import client_options
from streams.executions.identities import RecentIdentities
from streams.executions.records import ExecutionRecord, execution_records
from streams.gateway.enrich import Enricher
from streams.gateway.log import AccountLog, LogUnavailable
from streams.gateway.market import SharedMarket
from streams.gateway.status import GatewayState, GatewayStatus
from streams.log_reader import open_log
from streams.records import DeadLetter, UnreadableRecord, account_events
from streams.topics import EXECUTIONS

log = logging.getLogger(__name__)

_RECORDS_MAX = 400
_POLL_MS = 500
_DAY_US = DAY_MS * 1_000
_FIRST_TIME_US = 1_500_000_000_000_000
"""Binance opened on 2017-07-14; an older time would make the log close days that never were."""

_LISTING_AGE_MAX_S = 10.0
_AHEAD_MAX_US = 3_600_000_000


class BookedExecutions:
    """What carries the executions of one account to the log.

    Attributes:
        last_sync_us: When everything that was announced was last found booked; epoch microseconds.
        last_event_us: Time of the newest event that was published.
    """

    def __init__(
        self, *, settings: Settings, account: AccountConfig, market: SharedMarket, status: GatewayStatus
    ) -> None:
        """Prepare.

        Args:
            settings: Brokers and intervals.
            account: Whose executions.
            market: Where symbols, prices and rates come from; it needs no key.
            status: What operators are told of the account.
        """
        self.last_sync_us = 0
        self.last_event_us = 0
        self._settings = settings
        self._account = account
        self._market = market
        self._status = status
        self._next_valuation_us = 0
        self._midnight_us = 0

    async def run(self, account_log: AccountLog) -> None:
        """Book what is announced, until something ends it.

        Args:
            account_log: Where to publish; it has been recovered.

        Raises:
            LogUnavailable: Kafka is in doubt; the log is to be recovered first.
            RequestRefused: The exchange refuses what anybody may ask.
            RemediableError: The topic has fewer executions than the log.
        """
        self._status.state = GatewayState.SYNCING
        await self._market.fresh(self._account.reporting)
        self.last_event_us = account_log.published.last_time_us
        self._midnight_us = _next_midnight(self.last_event_us) if self.last_event_us else 0
        self._next_valuation_us = self._valuation_after(self._now_us())
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=_RECORDS_MAX,
        )
        try:
            await consumer.start()
            await self._carry(consumer, account_log)
        except (KafkaError, OSError) as error:
            raise LogUnavailable(f"executions cannot be read: {error!r}") from error
        finally:
            await consumer.stop()

    async def _carry(self, consumer: AIOKafkaConsumer, account_log: AccountLog) -> None:
        partition = TopicPartition(EXECUTIONS.name, partition_of(self._account.name, self._settings.partitions))
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        first = account_log.published.newest_trade_id + 1
        if end < first:
            raise RemediableError(
                f"{EXECUTIONS.name}[{partition.partition}] ends at offset {end}, but the log of account "
                f"{self._account.name} has its executions up to {first - 1}: the topic was made anew",
                "Bring the topic back, or book what is announced from now on under another account name",
            )
        booked = await self._booked(partition.partition, (await consumer.beginning_offsets([partition]))[partition])
        known = RecentIdentities()
        while True:
            batch = await consumer.getmany(partition, timeout_ms=_POLL_MS)
            for message in batch.get(partition, ()):
                if message.key != self._account.name.encode():
                    continue
                if message.offset >= first:
                    await self._book(message, known, account_log)
                elif message.offset in booked:
                    known.add(execution_records.decode(message.value).identity)
            if await consumer.position(partition) >= end:
                await self._note_current(account_log)

    async def _booked(self, partition: int, since: int) -> set[int]:
        """The offsets of the executions that are booked, of those that the topic still has.

        One that was not booked, but went to the dead letters, does not make its repetition one.
        """
        offsets: set[int] = set()
        async with open_log(self._settings, partition) as whole:
            async for batch in whole.batches():
                for message in batch:
                    if message.key == self._account.name.encode():
                        offsets.update(offset for offset in _trade_ids(message.value) if offset >= since)
        return offsets

    async def _book(self, message: ConsumerRecord, known: RecentIdentities, account_log: AccountLog) -> None:
        try:
            execution = execution_records.decode(message.value)
            if execution.identity in known:
                return
            await self._publish(await self._events(execution, message.offset), account_log)
            known.add(execution.identity)
        except (UnreadableRecord, PortfolioError, UnknownSymbol) as error:
            await self._keep_raw(message, str(error), account_log)

    async def _events(self, execution: ExecutionRecord, offset: int) -> list[Event]:
        """The fill that an execution is; a rebate, which no fee can be, is a flow of its own."""
        if not _FIRST_TIME_US <= execution.event_time_us <= self._now_us() + _AHEAD_MAX_US:
            raise InvalidEvent(f"event_time_us {execution.event_time_us} is before the exchange began, or to come")
        catalogue, enricher = await self._listing(execution.symbol)
        instrument = catalogue.instrument(execution.symbol)
        fee = execution.fee or ZERO
        fill = Fill(
            time_us=execution.event_time_us,
            symbol=instrument.symbol,
            base=instrument.base,
            quote=instrument.quote,
            side=execution.side,
            price=execution.price,
            quantity=execution.quantity,
            trade_id=offset,
            order_id=execution.order_id or 0,
            fee=max(fee, ZERO),
            fee_asset=execution.fee_asset if fee > ZERO else "",
            client_order_id=execution.client_order_id,
            strategy=execution.strategy,
            cycle_id=execution.cycle_id,
        )
        events: list[Event] = [await enricher.fill(fill)]
        if fee < ZERO:
            rebate = Flow(
                time_us=execution.event_time_us,
                id=f"rebate:{offset}",
                asset=execution.fee_asset,
                quantity=-fee,
                kind=FlowKind.REBATE,
            )
            events.append(await enricher.flow(rebate))
        return events

    async def _listing(self, symbol: str) -> tuple[Catalogue, Enricher]:
        catalogue, enricher = await self._market.fresh(self._account.reporting)
        try:
            catalogue.instrument(symbol)
        except UnknownSymbol:
            # A new listing, perhaps.
            await self._market.refresh(_LISTING_AGE_MAX_S)
        return catalogue, enricher

    async def _publish(self, events: Sequence[Event], account_log: AccountLog) -> None:
        await self._pass_midnights(events[0].time_us, account_log)
        await account_log.publish(events)
        self.last_event_us = max(self.last_event_us, account_log.published.last_time_us)

    async def _keep_raw(self, message: ConsumerRecord, reason: str, account_log: AccountLog) -> None:
        self._status.unread_events += 1
        log.error("%s[%d]@%d is not booked: %s", message.topic, message.partition, message.offset, reason)
        await account_log.keep(
            DeadLetter(
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                reason=reason,
                time_us=time.time_ns() // 1_000,
                key=message.key,
                value=message.value,
            )
        )

    # -- valuation

    async def _note_current(self, account_log: AccountLog) -> None:
        """Everything announced is booked: say so, and take a valuation point when one is due."""
        if self._status.state is not GatewayState.LIVE:
            log.info("account %s is live: its bots' executions are booked", self._account.name)
        self._status.state = GatewayState.LIVE
        now_us = self.last_sync_us = self._now_us()
        await self._pass_midnights(now_us, account_log)
        if now_us >= self._next_valuation_us or account_log.published.is_empty:
            enricher = self._market.enricher(self._account.reporting)
            if enricher is not None:
                await account_log.publish([await enricher.valuation(account_log.published.quantities.held, now_us)])
            self._next_valuation_us = self._valuation_after(now_us)

    async def _pass_midnights(self, time_us: int, account_log: AccountLog) -> None:
        """Close every day that ended before a time."""
        if not self._midnight_us:
            self._midnight_us = _next_midnight(time_us)
        while self._midnight_us <= time_us:
            _, enricher = await self._market.fresh(self._account.reporting)
            held = account_log.published.quantities.held
            # The price at midnight is the close of the day before.
            point = await enricher.valuation(held, self._midnight_us - 1, DAY_MS)
            await account_log.publish([replace(point, time_us=self._midnight_us)])
            self._midnight_us += _DAY_US
            await asyncio.sleep(0)

    def _now_us(self) -> int:
        return self._market.rest.exchange_time_us()

    def _valuation_after(self, time_us: int) -> int:
        return time_us + int(self._settings.valuation_interval_s * 1_000_000)


def _trade_ids(value: bytes | None) -> list[int]:
    """The trade ids of the fills of a record of the log; none where it cannot be read."""
    try:
        return [event.trade_id for event in account_events.decode(value).events if isinstance(event, Fill)]
    except UnreadableRecord:
        return []


def _next_midnight(time_us: int) -> int:
    return time_us - time_us % _DAY_US + _DAY_US
