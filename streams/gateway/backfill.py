"""Reading the executions that the log does not have, symbol by symbol, page by page, at the pace of the weight budget.

What was read is in the spool, with the place to go on from; so it is read once, however often it is interrupted.
"""

import logging
import time
from collections.abc import Iterable

import msgspec

from infra.binance.account_rows import PreventedOrder, decode_allocation, decode_prevented_match
from infra.binance.catalogue import Catalogue
from infra.binance.errors import MalformedEvent, RequestRefused
from infra.binance.rest import ROWS_MAX, BinanceRest
from infra.binance.times import milliseconds
from portfolio.events import ExecutionKind, Fill
from streams.gateway.published import Published
from streams.gateway.spool import FillSpool
from streams.gateway.status import GatewayStatus

log = logging.getLogger(__name__)

_PROGRESS_INTERVAL_S = 10.0
_STP_MARGIN_US = 3_600_000_000


class Progress:
    """How far a phase is, told in the status at once and in the log every ten seconds."""

    def __init__(self, phase: str, status: GatewayStatus, now_us: int) -> None:
        """Begin a phase.

        Args:
            phase: What is done.
            status: Where it is told.
            now_us: The time, by the exchange's clock.
        """
        self._phase = phase
        self._status = status
        self._started_us = now_us
        self._told_s = time.monotonic()
        self._status.backfill_phase, self._status.backfill_events = phase, 0
        self._status.backfill_percent, self._status.backfill_end_time_us = 0.0, 0

    def note(self, events: int, fraction: float, now_us: int) -> None:
        """Tell how far it is.

        Args:
            events: How many were done in this phase.
            fraction: The part that is done, from 0 to 1.
            now_us: The time.
        """
        status, done = self._status, min(max(fraction, 0.0), 1.0)
        status.backfill_events, status.backfill_percent = events, round(100 * done, 1)
        took_us = now_us - self._started_us
        status.backfill_end_time_us = self._started_us + round(took_us / done) if done > 0 else 0
        if time.monotonic() - self._told_s >= _PROGRESS_INTERVAL_S:
            self._told_s = time.monotonic()
            left_s = max(0, status.backfill_end_time_us - now_us) / 1_000_000
            log.info("backfill, %s: %d events, %.1f %%, about %.0f s to go", self._phase, events, 100 * done, left_s)

    def end(self) -> None:
        """The phase is over."""
        self._status.backfill_phase, self._status.backfill_end_time_us = "", 0


class Backfill:
    """Reads executions into a spool.

    Attributes:
        asked: Symbols that were asked for, to the end of their history at that moment.
        active: Those of them that have executions which are not in the log.
        update_us: Time of the account's last update, as last read; None before.
    """

    def __init__(
        self,
        *,
        rest: BinanceRest,
        catalogue: Catalogue,
        published: Published,
        spool: FillSpool,
        status: GatewayStatus,
    ) -> None:
        """Prepare.

        Args:
            rest: Where executions are read.
            catalogue: The instruments of the exchange.
            published: What the log says.
            spool: Where they are kept; what is in it was read before.
            status: Where progress is told.
        """
        self.asked: set[str] = set()
        self.active: set[str] = set()
        self.update_us: int | None = None
        self._rest = rest
        self._catalogue = catalogue
        self._published = published
        self._spool = spool
        self._status = status
        self._events = 0
        self._asked_for_others: set[str] = set()

    async def read(self, symbols: Iterable[str]) -> set[str]:
        """Read the trades of symbols that the log does not have; returns the assets that they name."""
        wanted = sorted(symbols)
        assets: set[str] = set()
        progress = Progress("reading", self._status, self._rest.exchange_time_us())
        for number, symbol in enumerate(wanted):
            assets |= await self._read_symbol(symbol, progress, number, len(wanted))
            self.asked.add(symbol)
            progress.note(self._events, (number + 1) / len(wanted), self._rest.exchange_time_us())
        progress.end()
        return assets

    async def _read_symbol(self, symbol: str, progress: Progress, number: int, count: int) -> set[str]:
        assets: set[str] = set()
        from_id, first_us = await self._start(symbol), 0
        while True:
            asked_us = self._rest.exchange_time_us()
            fills = await self._rest.trades(symbol, from_id, self._catalogue)
            fresh = [fill for fill in fills if self._published.is_new(fill)]
            last_id = fills[-1].trade_id if fills else from_id
            is_whole = len(fills) < ROWS_MAX
            whole_at_us = self.update_us if is_whole else None
            self._events += self._spool.add_page(symbol, fresh, next_id=last_id, whole_at_us=whole_at_us)
            self.active |= {symbol} if fresh else set()
            for fill in fills:
                assets |= {fill.base, fill.quote, fill.fee_asset} - {""}
            if is_whole:
                return assets
            if last_id == fills[0].trade_id:
                raise MalformedEvent(f"{symbol} has {ROWS_MAX} executions with one trade id, {last_id}")
            from_id, first_us = last_id, first_us or fills[0].time_us
            part = (fills[-1].time_us - first_us) / max(asked_us - first_us, 1)
            progress.note(self._events, (number + part) / count, asked_us)

    async def _start(self, symbol: str) -> int:
        """The id from which to go on with a symbol: after what the log has, and after what was read before.

        What was read before must still be there: else it is another history, because a testnet was wiped.
        """
        published_id, kept_id = self._published.next_trade_id(symbol), self._spool.next_id(symbol)
        if kept_id is None or kept_id <= published_id:
            return published_id
        if symbol in self.asked:
            return kept_id
        fills = await self._rest.trades(symbol, kept_id, self._catalogue)
        if any(fill.trade_id == kept_id and self._spool.has(fill) for fill in fills):
            return kept_id
        log.warning("%s: what was read before is no longer there: its trades are read anew", symbol)
        self._spool.forget(symbol)
        return published_id

    async def read_others(self, symbols: Iterable[str], since_us: int) -> bool:
        """Read the executions that are no trades: allocations of smart order routing, and prevented matches.

        `myTrades` has neither. Prevented matches can be asked for by order only, so the orders are read first.

        Args:
            symbols: Symbols that may have some; each is asked for once.
            since_us: From which time on.

        Returns:
            Whether any of them had not been asked for.
        """
        fresh = sorted(set(symbols) - self._asked_for_others)
        for symbol in fresh:
            self._asked_for_others.add(symbol)
            try:
                fills = [*await self._allocations(symbol), *await self._prevented_matches(symbol, since_us)]
            except RequestRefused as error:
                log.warning("%s: executions that are no trades cannot be read: %s", symbol, error)
                continue
            self._spool.add(fill for fill in fills if self._published.is_new(fill))
            self.active |= {symbol} if fills else set()
        return bool(fresh)

    async def _allocations(self, symbol: str) -> list[Fill]:
        fills: list[Fill] = []
        next_id = self._published.next_id(symbol, ExecutionKind.ALLOCATION)
        while True:
            params = {"symbol": symbol, "fromAllocationId": str(next_id), "limit": str(ROWS_MAX)}
            rows = _listed(await self._rest.read("api/v3/myAllocations", **params), "myAllocations")
            fills += [decode_allocation(row, self._catalogue) for row in rows]
            if len(rows) < ROWS_MAX:
                return fills
            next_id = fills[-1].trade_id + 1

    async def _prevented_matches(self, symbol: str, since_us: int) -> list[Fill]:
        since_ms = str(milliseconds(max(0, since_us - _STP_MARGIN_US)))
        rows = _listed(
            await self._rest.read("api/v3/allOrders", symbol=symbol, startTime=since_ms, limit=str(ROWS_MAX)),
            "allOrders",
        )
        try:
            orders = msgspec.convert(rows, list[PreventedOrder])
        except msgspec.ValidationError as error:
            raise MalformedEvent(f"row of allOrders cannot be read: {error}") from error
        mine = {order.order_id for order in orders}
        fills: list[Fill] = []
        for order in orders:
            if not order.may_have_transferred:
                continue
            matches = _listed(
                await self._rest.read("api/v3/myPreventedMatches", symbol=symbol, orderId=str(order.order_id)),
                "myPreventedMatches",
            )
            # Between two orders of one account nothing is transferred.
            found = (
                decode_prevented_match(match, order, self._catalogue)
                for match in matches
                if not _both_orders(match) <= mine
            )
            fills += [fill for fill in found if fill is not None]
        return sorted(fills, key=lambda fill: fill.trade_id)


async def open_symbols(rest: BinanceRest, catalogue: Catalogue) -> set[str]:
    """The symbols in which the account has open orders (weight 80)."""
    rows = _listed(await rest.read("api/v3/openOrders"), "openOrders")
    named = {str(row["symbol"]) for row in rows if isinstance(row, dict) and "symbol" in row}
    return named & {instrument.symbol for instrument in catalogue}


def _both_orders(match: object) -> set[object]:
    return {match.get("takerOrderId"), match.get("makerOrderId")} if isinstance(match, dict) else set()


def _listed(answer: object, name: str) -> list[object]:
    if not isinstance(answer, list):
        raise MalformedEvent(f"{name} is no list")
    return answer
