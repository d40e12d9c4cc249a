"""The live phase: events go to the log as they come, and the balances are compared every now and then."""

import asyncio
import logging
from collections.abc import Sequence
from decimal import Decimal

from infra.binance.decoder import Notice, NoticeKind, ReportedBalances, ReportedFill, ReportedFlow
from infra.binance.errors import RequestRefused
from infra.binance.rest import BinanceRest
from infra.binance.times import milliseconds
from infra.settings import Settings
from portfolio.events import BalanceReport, Event
from portfolio.money import plain
from streams.gateway.confirmation import PATIENCE_S, Confirmation
from streams.gateway.enrich import Enricher
from streams.gateway.flows import FlowHistories
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
_STEP_MAX_S = 1.0
_FLOW_LOOKS_S = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Pauses between readings of the histories after a flow without a kind; then it is left to the periodic reading.

Binance's histories tell of some things at once and of others after minutes."""

_FLOW_AGE_MAX_US = 3_600_000_000


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
        histories: FlowHistories,
        synced_us: int,
    ) -> None:
        """Prepare; a full sync came before.

        Args:
            settings: Intervals.
            rest: Where the balances are read.
            enricher: Adds the rates.
            account_log: Where to publish.
            inbox: What the stream brought and brings.
            histories: What tells of flows.
            synced_us: The account update up to which the sync has published everything.
        """
        self._settings = settings
        self._rest = rest
        self._enricher = enricher
        self._log = account_log
        self._inbox = inbox
        self._histories = histories
        self._confirmation = Confirmation(synced_us)
        self._flow_seen = asyncio.Event()
        self._is_history_read = False
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
        readers = [asyncio.create_task(work) for work in (self._read_balances(), self._read_histories())]
        try:
            while True:
                await self._step()
                for reader in readers:
                    if reader.done():
                        await reader
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _step(self) -> None:
        due_s = (self._next_valuation_us - self._rest.exchange_time_us()) / 1_000_000
        longest_s = PATIENCE_S / 4 if self._confirmation.is_waiting else _STEP_MAX_S
        items = await self._inbox.take(EVENTS_PER_PAGE_MAX // 2, min(due_s, longest_s))
        await self._log.publish(await self._events(items))
        self.last_event_us = max(self.last_event_us, self._log.published.last_time_us)
        if self._confirmation.is_overdue:
            raise OutOfStep("balances do not follow from what the stream told: something was lost")
        await self._classify_flows()
        await self._compare_balances()
        if self._rest.exchange_time_us() >= self._next_valuation_us:
            await self._value()

    async def _events(self, items: Sequence[Item]) -> list[Event]:
        for item in items:
            self._take(item)
        events: list[Event] = []
        quantities = Quantities(self._log.published.quantities.held)
        for item in self._confirmation.release(quantities.held):
            match item:
                case ReportedFill():
                    events.append(await self._enricher.fill(item.fill))
                    quantities.apply(item.fill)
                case ReportedFlow():
                    events.extend(await with_valuation(item.flow, quantities, self._enricher))
                    self._flow_seen.set()
                case ReportedBalances():
                    events.append(item.report)
                    self._updated_us = max(self._updated_us, item.report.time_us)
        return events

    def _take(self, item: Item) -> None:
        match item:
            case ReportedFill():
                if self._log.published.is_new(item.fill):
                    self._confirmation.add(item)
            case ReportedFlow():
                if self._log.published.is_new(item.flow):
                    self._confirmation.add(item)
            case ReportedBalances():
                self._confirmation.add(item)
            case Notice():
                level = logging.WARNING if item.kind is NoticeKind.EXTERNAL_LOCK else logging.DEBUG
                log.log(level, "%s: %s", item.name, item.raw)
            case BalanceReport():
                self._account = item
                self._account_deadline = asyncio.get_running_loop().time() + _STREAM_LAG_MAX_S

    # -- flows

    async def _read_histories(self) -> None:
        """Read the histories every interval, and a few times after a flow whose kind is not known."""
        looks = 0 if self._has_recent_flows() else len(_FLOW_LOOKS_S)
        while True:
            is_waiting = looks < len(_FLOW_LOOKS_S) and self._has_recent_flows()
            wait_s = _FLOW_LOOKS_S[looks] if is_waiting else self._settings.flow_sync_interval_s
            try:
                async with asyncio.timeout(wait_s):
                    await self._flow_seen.wait()
            except TimeoutError:
                await self._histories.read(self._log.published)
                self._is_history_read = True
                looks += 1
            else:
                self._flow_seen.clear()
                looks = 0

    def _has_recent_flows(self) -> bool:
        oldest_us = self._rest.exchange_time_us() - _FLOW_AGE_MAX_US
        return any(flow.time_us > oldest_us for flow in self._log.published.unclassified.values())

    async def _classify_flows(self) -> None:
        if self._is_history_read:
            self._is_history_read = False
            await self._histories.name_flows(self._log)

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
        # What a person corrects changes what the ledger holds, and the exchange does not tell of it.
        await self._log.note_corrections()
        totals = {asset: balance.total for asset, balance in account.balances.items()}
        gaps = self._log.published.quantities.gaps(totals)
        if gaps:
            self._look(gaps)
            return
        self._looks, self._gaps = 0, {}
        self._histories.covered()
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
