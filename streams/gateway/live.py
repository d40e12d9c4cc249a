"""The live phase: events go to the log as they come, and the balances are compared every now and then."""

import asyncio
import logging
from collections.abc import Sequence
from decimal import Decimal

from infra.binance.decoder import Notice, NoticeKind, ReportedBalances, ReportedFill, ReportedFlow
from infra.binance.errors import RequestRefused, StreamLost
from infra.binance.rest import BinanceRest
from infra.binance.times import milliseconds
from infra.settings import Settings
from portfolio.events import BalanceReport, Event
from portfolio.money import plain
from streams.gateway.enrich import Enricher
from streams.gateway.inbox import Inbox, Item
from streams.gateway.log import AccountLog
from streams.gateway.published import Quantities
from streams.gateway.sync import with_valuation
from streams.records import EVENTS_PER_PAGE_MAX

log = logging.getLogger(__name__)

_DAY_US = 86_400_000_000
_STREAM_LAG_MAX_S = 5.0
_STALE_RETRY_S = 0.5
_LOOKS_BEFORE_RESYNC = 3


class OutOfStep(RuntimeError):
    """The log and the exchange disagree, and go on to: a full sync is needed."""


class LivePhase:
    """Publishes what the stream tells, in its order.

    Attributes:
        last_sync_us: When the balances were last found equal; epoch microseconds by the exchange's clock.
        last_event_us: Time of the newest event that was published.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        rest: BinanceRest,
        enricher: Enricher,
        account_log: AccountLog,
        inbox: Inbox,
        synced_us: int,
    ) -> None:
        """Prepare; a full sync came before.

        Args:
            settings: Intervals.
            rest: Where the balances are read.
            enricher: Adds the rates.
            account_log: Where to publish.
            inbox: What the stream brought and brings.
            synced_us: The account update up to which the sync has published everything.
        """
        self._settings = settings
        self._rest = rest
        self._enricher = enricher
        self._log = account_log
        self._inbox = inbox
        self._updated_us = synced_us
        self._account: BalanceReport | None = None
        self._account_deadline = 0.0
        self._gaps: dict[str, Decimal] = {}
        self._looks = 0
        self._look_again = asyncio.Event()
        self.last_sync_us = rest.exchange_time_us()
        self.last_event_us = account_log.published.last_time_us
        self._next_valuation_us = self._valuation_after(self.last_sync_us)

    async def run(self) -> None:
        """Run until something ends it.

        Raises:
            StreamLost: The stream has ended.
            OutOfStep: A full sync is needed.
            LogUnavailable: Kafka did not confirm.
        """
        reader = asyncio.create_task(self._read_balances())
        try:
            while True:
                await self._step()
                if reader.done():
                    await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _step(self) -> None:
        due_s = (self._next_valuation_us - self._rest.exchange_time_us()) / 1_000_000
        items = await self._inbox.take(EVENTS_PER_PAGE_MAX // 2, min(due_s, 1.0))
        await self._log.publish(await self._events(items))
        self.last_event_us = max(self.last_event_us, self._log.published.last_time_us)
        if any(isinstance(item, Notice) and item.kind.ends_the_stream for item in items):
            raise StreamLost("the exchange has ended the stream")
        await self._compare_balances()
        if self._rest.exchange_time_us() >= self._next_valuation_us:
            await self._value()

    async def _events(self, items: Sequence[Item]) -> list[Event]:
        events: list[Event] = []
        quantities = Quantities(self._log.published.quantities.held)
        for item in items:
            match item:
                case ReportedFill():
                    if self._log.published.is_new(item.fill):
                        events.append(await self._enricher.fill(item.fill))
                        quantities.apply(item.fill)
                case ReportedFlow():
                    if self._log.published.is_new(item.flow):
                        events.extend(await with_valuation(item.flow, quantities, self._enricher))
                case ReportedBalances():
                    events.append(item.report)
                    self._updated_us = max(self._updated_us, item.report.time_us)
                case Notice():
                    level = logging.WARNING if item.kind is NoticeKind.EXTERNAL_LOCK else logging.DEBUG
                    log.log(level, "%s: %s", item.name, item.raw)
                case BalanceReport():
                    self._account = item
                    self._account_deadline = asyncio.get_running_loop().time() + _STREAM_LAG_MAX_S
        return events

    # -- balances

    async def _read_balances(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._settings.balance_sync_interval_s):
                    await self._look_again.wait()
                await asyncio.sleep(_STALE_RETRY_S)
            except TimeoutError:
                pass
            self._look_again.clear()
            try:
                self._inbox.put(await self._rest.account())
            except RequestRefused as error:
                log.warning("balances could not be read: %s", error)

    async def _compare_balances(self) -> None:
        """Compare balances that were read over REST, once the stream has reached their time."""
        account = self._account
        if account is None:
            return
        if milliseconds(account.time_us) > milliseconds(self._updated_us):
            if asyncio.get_running_loop().time() > self._account_deadline:
                raise OutOfStep("the account was updated, but the stream did not tell")
            return
        self._account = None
        if milliseconds(account.time_us) < milliseconds(self._updated_us):
            self._look(None)
            return
        totals = {asset: balance.total for asset, balance in account.balances.items()}
        gaps = self._log.published.quantities.gaps(totals)
        if gaps:
            self._look(gaps)
            return
        self._looks, self._gaps = 0, {}
        self.last_sync_us = self._rest.exchange_time_us()
        await self._log.publish(
            [BalanceReport(time_us=max(account.time_us, self._updated_us), balances=account.balances, complete=True)]
        )

    def _look(self, gaps: dict[str, Decimal] | None) -> None:
        """Look again soon; None means that the balances were older than what was published meanwhile.

        Raises:
            OutOfStep: The same gap was there at the last look too.
        """
        if gaps and gaps == self._gaps:
            shown = ", ".join(f"{asset} {plain(gap)}" for asset, gap in gaps.items())
            raise OutOfStep(f"the exchange has more (or, negative, less) than the log: {shown}")
        if gaps:
            self._gaps = gaps
        self._looks += 1
        if self._looks < _LOOKS_BEFORE_RESYNC or gaps:
            self._look_again.set()
        else:
            self._looks = 0

    # -- valuation

    async def _value(self) -> None:
        midnight_us = self._next_valuation_us if self._next_valuation_us % _DAY_US == 0 else None
        now_us = self._rest.exchange_time_us()
        point = await self._enricher.valuation(self._log.published.quantities.held, midnight_us or now_us)
        await self._log.publish([point])
        self._next_valuation_us = self._valuation_after(now_us)

    def _valuation_after(self, time_us: int) -> int:
        midnight_us = time_us - time_us % _DAY_US + _DAY_US
        return min(midnight_us, time_us + int(self._settings.valuation_interval_s * 1_000_000))
