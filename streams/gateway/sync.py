"""The full sync: what happened while nobody listened, until the log and the exchange agree to the last digit.

The stream is subscribed to before, so whatever happens during the sync waits in the inbox. The balances read over REST
carry the time of the account's last update. Everything up to that time must explain them; what it does not explain is
looked at twice before it is booked as a flow.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import msgspec

from infra.binance.catalogue import Catalogue
from infra.binance.prices import DAY_MS, MINUTE_MS
from infra.binance.rest import BinanceRest
from infra.binance.times import milliseconds
from portfolio.events import BalanceReport, Event, Fill, Flow, FlowKind
from portfolio.money import ZERO
from streams.gateway.backfill import Backfill, Progress, open_symbols
from streams.gateway.discovery import ALL_MAX, first_symbols, later_symbols, suspects
from streams.gateway.enrich import Enricher
from streams.gateway.flows import FlowHistories
from streams.gateway.inbox import Inbox
from streams.gateway.log import AccountLog
from streams.gateway.published import Quantities
from streams.gateway.settlement import Settled, difference, merged, unexplained_parts
from streams.gateway.spool import FillSpool
from streams.gateway.status import GatewayStatus
from streams.records import EVENTS_PER_PAGE_MAX

log = logging.getLogger(__name__)

_LOOKS_MAX = 20
_LOOK_INTERVAL_S = 0.5
_STREAM_LAG_MAX_S = 3.0
_PROGRESS_EVENTS = 1_000
_DAY_US = DAY_MS * 1_000
_HISTORIES_AGE_MAX_US, _HISTORIES_RETRY_US = 60_000_000, 10_000_000
"""How old the histories may be that a sync begins with, and that it goes on with while a difference is unexplained.

One of them may be read ten times a minute, by all sessions of the account together."""

_NAMES_SHOWN = 8


class FullSync:
    """One full sync of one account."""

    def __init__(
        self,
        *,
        rest: BinanceRest,
        catalogue: Catalogue,
        enricher: Enricher,
        account_log: AccountLog,
        inbox: Inbox,
        histories: FlowHistories,
        status: GatewayStatus,
        spool_path: Path | None = None,
        origin: str = "",
    ) -> None:
        """Prepare.

        Args:
            rest: Where trades and balances are read.
            catalogue: The instruments of the exchange.
            enricher: Adds the rates.
            account_log: Where to publish; its state says where to go on.
            inbox: Filled by the stream, which is subscribed to already.
            histories: What tells of flows.
            status: Where progress is told.
            spool_path: Where what was read is kept until it is published; None: in memory and temporary files.
            origin: The exchange, so that what was read at another one is not taken for this one's.
        """
        self._rest = rest
        self._catalogue = catalogue
        self._enricher = enricher
        self._log = account_log
        self._inbox = inbox
        self._histories = histories
        self._status = status
        self._spool_path = spool_path
        self._origin = origin
        self._pending: list[Event] = []

    async def run(self) -> int:
        """Sync, and leave in the inbox only what is not published.

        Returns:
            The time of the account's last update that is covered.
        """
        await self._log.note_corrections()
        published = self._log.published
        with FillSpool(self._spool_path, origin=self._origin) as spool:
            spool.drop_published(published)
            backfill = Backfill(
                rest=self._rest, catalogue=self._catalogue, published=published, spool=spool, status=self._status
            )
            await self._read(spool, backfill)
            settled = await self._settle(spool, backfill)
            await self._publish(spool, settled)
            spool.clear()
        self._histories.covered()
        await self._histories.name_flows(self._log)
        self._inbox.drop_up_to(settled.account.time_us)
        return settled.account.time_us

    # -- reading

    async def _read(self, spool: FillSpool, backfill: Backfill) -> None:
        """Read the histories, and the trades of the symbols that are likely to have some."""
        published = self._log.published
        account = await self._rest.account()
        is_same = milliseconds(account.time_us) <= milliseconds(published.updated_us)
        if not published.is_empty and is_same and not spool.symbols and not self._gaps(account):
            log.info("nothing has happened at the exchange since the log was written")
            return
        # What was asked for since the account's last update need not be asked for again. That asks no clock, which may
        # be wrong.
        backfill.asked, backfill.update_us = spool.whole_symbols(account.time_us), account.time_us
        symbols = spool.symbols | await self._likely_symbols(account)
        await backfill.read(symbols - backfill.asked)
        if published.is_empty:
            await self._histories.read(published, first_trade_us=spool.first_time_us)
        elif self._histories.age_us > _HISTORIES_AGE_MAX_US:
            await self._histories.read(published)

    async def _likely_symbols(self, account: BalanceReport) -> set[str]:
        published = self._log.published
        if not published.is_empty:
            known = later_symbols(self._catalogue, published.symbols)
            return known or await open_symbols(self._rest, self._catalogue)
        if len(self._catalogue) <= ALL_MAX:
            return first_symbols(self._catalogue, set())
        await self._histories.read(published)
        assets = account.balances.keys() | self._histories.assets
        return first_symbols(self._catalogue, assets) | await open_symbols(self._rest, self._catalogue)

    def _gaps(self, account: BalanceReport) -> dict[str, Decimal]:
        totals = {asset: balance.total for asset, balance in account.balances.items()}
        return self._log.published.quantities.gaps(totals)

    async def _settle(self, spool: FillSpool, backfill: Backfill) -> Settled:
        """Read the balances until what is known explains them, or fails to in the same way twice."""
        before: Settled | None = None
        before_s = 0.0
        looks = 0
        while looks < _LOOKS_MAX:
            look_s = time.monotonic()
            settled = await self._look(spool, backfill)
            if not settled.gaps and not settled.missing:
                return settled
            log.debug("look %d: unexplained %s", looks, settled.unexplained)
            if before is not None and settled.account.time_us != before.account.time_us:
                # It trades on. Without the stream no look would ever hold, and each costs every symbol's trades again.
                self._inbox.require_open()
            if await self._read_suspects(backfill, set(settled.gaps) | set(settled.missing)):
                continue
            if before is not None and before.unexplained == settled.unexplained:
                if await self._has_nothing_to_ask(backfill, settled, before_s):
                    return settled
                continue
            before, before_s = settled, look_s
            looks += 1
            await self._look_closer(backfill, settled)
            await asyncio.sleep(_LOOK_INTERVAL_S)
        raise SyncUnsettled(f"balances and trades did not come to rest in {_LOOKS_MAX} looks")

    async def _has_nothing_to_ask(self, backfill: Backfill, settled: Settled, since_s: float) -> bool:
        """Whether everything that may explain a difference was asked for after it was first seen; else it is now."""
        if await self._read_others(backfill, settled.unexplained):
            return False
        if self._log.published.is_empty or self._histories.was_read_since(since_s):
            return True
        await self._histories.read(self._log.published)
        return False

    async def _read_suspects(self, backfill: Backfill, assets: set[str]) -> bool:
        """Read the next group of symbols that may explain a difference; returns whether there was one."""
        for symbols in suspects(self._catalogue, assets, self._log.published.symbols, backfill.asked):
            log.info(
                "the balances of %s are not explained: asking for trades of %d symbols", _few(assets), len(symbols)
            )
            await backfill.read(symbols)
            return True
        return False

    async def _look_closer(self, backfill: Backfill, settled: Settled) -> None:
        """Read again what may have told late."""
        unexplained = set(settled.unexplained)
        # REST may show a trade later than the balances that it changed, and the stream may have lost one of a symbol
        # that was quiet when it was asked for: then both its sides are unexplained.
        late = {symbol for symbol in backfill.active if self._sides(symbol) & unexplained}
        lost = {symbol for symbol in backfill.asked if self._sides(symbol) <= unexplained}
        await backfill.read(late | lost)
        if not self._log.published.is_empty and self._histories.age_us > _HISTORIES_RETRY_US:
            await self._histories.read(self._log.published)

    async def _read_others(self, backfill: Backfill, unexplained: dict[str, Decimal]) -> bool:
        """Read executions that are no trades, where a difference looks like one; returns whether any was new to ask."""
        exchanged = {
            symbol
            for symbol in backfill.asked
            if {unexplained[asset] > ZERO for asset in self._sides(symbol) & unexplained.keys()} == {True, False}
        }
        return await backfill.read_others(exchanged, self._log.published.last_time_us)

    def _sides(self, symbol: str) -> set[str]:
        instrument = self._catalogue.instrument(symbol)
        return {instrument.base, instrument.quote}

    async def _look(self, spool: FillSpool, backfill: Backfill) -> Settled:
        account = await self._rest.account()
        backfill.update_us = account.time_us
        await self._inbox.caught_up(account.time_us, _STREAM_LAG_MAX_S)
        fills, told = self._inbox.up_to(account.time_us)
        published = self._log.published
        fills = [fill for fill in fills if published.is_new(fill)]
        # A symbol that trades now may have traded before, unseen.
        await backfill.read({fill.symbol for fill in fills} - backfill.asked)
        spool.add(fills)
        told = [flow for flow in told if published.is_new(flow)]
        bare = await self._explained(spool, account, told)
        missed = self._histories.explaining(published, bare.unexplained, account.time_us, told)
        if not missed:
            return bare
        return await self._explained(spool, account, sorted([*told, *missed], key=lambda flow: flow.time_us))

    async def _explained(self, spool: FillSpool, account: BalanceReport, flows: list[Flow]) -> Settled:
        """What trades and flows leave unexplained of the balances."""
        quantities = Quantities(self._log.published.quantities.held)
        events = merged(spool, flows, account.time_us)
        while page := tuple(itertools.islice(events, EVENTS_PER_PAGE_MAX)):
            quantities.apply(*page)
            await asyncio.sleep(0)
        totals = {asset: balance.total for asset, balance in account.balances.items()}
        return Settled(
            account=account, flows=tuple(flows), gaps=quantities.gaps(totals), missing=dict(quantities.missing)
        )

    # -- publishing

    async def _publish(self, spool: FillSpool, settled: Settled) -> None:
        published = self._log.published
        account_time_us = settled.account.time_us or self._rest.exchange_time_us()
        is_first = published.is_empty
        ahead, after = unexplained_parts(settled, is_first=is_first)
        events = merged(spool, settled.flows, account_time_us)
        first = next(events, None)
        start_us = account_time_us if first is None else first.time_us
        await self._publish_ahead(ahead, start_us, account_time_us, is_first=is_first)
        quantities = Quantities(published.quantities.held)
        midnight_us = _next_midnight(published.last_time_us or start_us)
        count, expected = 0, len(spool) + len(settled.flows)
        progress = Progress("publishing", self._status, self._rest.exchange_time_us())
        for event in itertools.chain(() if first is None else (first,), events):
            midnight_us = await self._pass_midnights(midnight_us, event.time_us, quantities)
            await self._add(event, quantities)
            count += 1
            if count % _PROGRESS_EVENTS == 0:
                progress.note(count, count / expected, self._rest.exchange_time_us())
        progress.end()
        await self._pass_midnights(midnight_us, account_time_us, quantities)
        for asset, quantity in after.items():
            flow = difference(asset, quantity, account_time_us, "after")
            log.warning("%s %s at the exchange that no event explains: booked as %s", quantity, asset, flow.kind)
            await self._add(flow, quantities)
        self._pending.append(msgspec.structs.replace(settled.account, time_us=account_time_us))
        now_us = self._rest.exchange_time_us()
        self._pending.append(await self._enricher.valuation(quantities.held, max(now_us, account_time_us)))
        await self._flush()
        log.info("synced: %d events backfilled, %d differences booked", count, len(after))

    async def _publish_ahead(
        self, ahead: dict[str, Decimal], start_us: int, account_time_us: int, *, is_first: bool
    ) -> None:
        """Book what must have been there before the first event; one record, so that a crash cannot split it."""
        if not ahead:
            return
        flows = []
        for asset, quantity in ahead.items():
            if is_first:
                flow = Flow(
                    time_us=start_us, id=f"opening:{asset}", asset=asset, quantity=quantity, kind=FlowKind.OPENING
                )
            else:
                flow = difference(asset, quantity, account_time_us, "ahead")
                log.warning("%s %s came in unseen before it was spent: booked as %s", quantity, asset, flow.kind)
            flows.append(await self._enricher.flow(flow))
        held = self._log.published.quantities.held.keys() | ahead.keys()
        await self._log.publish([*flows, await self._enricher.valuation(held, start_us)])

    async def _pass_midnights(self, midnight_us: int, time_us: int, quantities: Quantities) -> int:
        """Close every day that ended before a time; returns the midnight that is next."""
        while midnight_us <= time_us:
            # The price at midnight is the close of the day before.
            point = await self._enricher.valuation(quantities.held, midnight_us - 1, DAY_MS)
            self._pending.append(msgspec.structs.replace(point, time_us=midnight_us))
            midnight_us += _DAY_US
        return midnight_us

    async def _add(self, event: Fill | Flow, quantities: Quantities) -> None:
        if isinstance(event, Fill):
            self._pending.append(await self._enricher.fill(event))
            quantities.apply(event)
        else:
            self._pending.extend(await with_valuation(event, quantities, self._enricher))
        if len(self._pending) >= EVENTS_PER_PAGE_MAX:
            await self._flush()

    async def _flush(self) -> None:
        await self._log.publish(self._pending)
        self._pending.clear()


class SyncUnsettled(RuntimeError):
    """The account changed faster than it could be read; the sync is to be tried again."""


async def with_valuation(flow: Flow, quantities: Quantities, enricher: Enricher) -> list[Event]:
    """A flow with a valuation point on its right side: before what comes in, after what goes out.

    So the period that the point closes contains no inflow, and ends with the outflow: the time-weighted return is
    exact. `quantities` follows.
    """
    enriched = await enricher.flow(flow)
    held_before = set(quantities.held)
    quantities.apply(flow)
    point = await enricher.valuation(held_before | {flow.asset}, flow.time_us, MINUTE_MS)
    return [point, enriched] if flow.quantity > ZERO else [enriched, point]


def _few(assets: Iterable[str]) -> str:
    names = sorted(assets)
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")


def _next_midnight(time_us: int) -> int:
    return time_us - time_us % _DAY_US + _DAY_US
