"""What the log says of an account: where to go on, and what the ledger holds by now.

A light fold of the log. It keeps the cursors and the quantities that the ledger's fold arrives at and leaves out
values, positions and returns, so that a log of a million fills is read in seconds and in little memory.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec.structs import replace

from portfolio.book import SymbolTotals
from portfolio.duplicates import Novelty, advance, classify_fill
from portfolio.events import BalanceReport, Event, ExecutionKind, Fill, Flow, Side, ValuationPoint
from portfolio.money import ZERO, exact_arithmetic


class Quantities:
    """How much of each asset the ledger holds; it follows the ledger's order of bookings within an event.

    Attributes:
        held: Quantity of each asset; never negative.
        missing: What went out of each asset that no event explains, which the ledger books as an opening flow.
    """

    def __init__(self, held: Mapping[str, Decimal] | None = None) -> None:
        self.held: dict[str, Decimal] = dict(held or {})
        self.missing: dict[str, Decimal] = {}

    def apply(self, event: Event) -> None:
        """Follow one event that is new."""
        with exact_arithmetic():
            match event:
                case Fill():
                    self._apply_fill(event)
                case Flow():
                    self._move(event.asset, event.quantity)
                case _:
                    pass

    def _apply_fill(self, fill: Fill) -> None:
        quote_quantity = fill.price * fill.quantity if fill.quote_quantity is None else fill.quote_quantity
        base, quote = (fill.base, fill.quantity), (fill.quote, quote_quantity)
        out, into = (quote, base) if fill.side is Side.BUY else (base, quote)
        self._move(out[0], -out[1])
        self._move(into[0], into[1])
        if fill.fee:
            self._move(fill.fee_asset, -fill.fee)

    def _move(self, asset: str, quantity: Decimal) -> None:
        after = self.held.get(asset, ZERO) + quantity
        if after < ZERO:
            self.missing[asset] = self.missing.get(asset, ZERO) - after
            after = ZERO
        if after:
            self.held[asset] = after
        else:
            self.held.pop(asset, None)

    def gaps(self, balances: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """What the exchange has more of (or, negative, less of) than is held here, for each asset that differs."""
        with exact_arithmetic():
            pairs = {asset: balances.get(asset, ZERO) - self.held.get(asset, ZERO) for asset in {*balances, *self.held}}
        return {asset: gap for asset, gap in sorted(pairs.items()) if gap}


class Published:
    """What was published of an account so far.

    Attributes:
        quantities: What the ledger holds after it.
        assets: Every asset that was ever named.
        last_time_us: Time of the newest event; zero before the first.
        last_valuation_us: Time of the newest valuation point; zero before the first.
        events: Number of events that were new.
    """

    def __init__(self) -> None:
        self.quantities = Quantities()
        self.assets: set[str] = set()
        self.last_time_us = 0
        self.last_valuation_us = 0
        self.events = 0
        self._symbols: dict[str, SymbolTotals] = {}
        self._flows: set[str] = set()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever published: the first sync is still to come."""
        return self.events == 0

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol that was ever traded."""
        return tuple(self._symbols)

    def next_trade_id(self, symbol: str) -> int:
        """The id from which the trades of a symbol are still to be asked for.

        The last id itself is asked for again: a self-trade has two rows with it.
        """
        totals = self._symbols.get(symbol)
        cursor = totals.cursors.get(ExecutionKind.TRADE) if totals is not None else None
        return 0 if cursor is None else cursor.last_id

    def is_new(self, event: Event) -> bool:
        """Whether the ledger would book the event."""
        match event:
            case Fill():
                return classify_fill(event, self._symbols.get(event.symbol) or SymbolTotals()) is Novelty.NEW
            case Flow():
                return event.id not in self._flows
            case _:
                return True

    def add_new(self, events: Iterable[Event]) -> None:
        """Take note of what was published; duplicates change nothing, as in the ledger."""
        for event in events:
            if self.is_new(event):
                self._add(event)

    def _add(self, event: Event) -> None:
        self.events += 1
        self.last_time_us = max(self.last_time_us, event.time_us)
        match event:
            case Fill():
                totals = self._symbols.get(event.symbol) or SymbolTotals()
                cursor = advance(totals.cursors.get(event.execution), event)
                self._symbols[event.symbol] = replace(totals, cursors={**totals.cursors, event.execution: cursor})
                self.assets |= {event.base, event.quote}
                if event.fee_asset:
                    self.assets.add(event.fee_asset)
            case Flow():
                self._flows.add(event.id)
                self.assets.add(event.asset)
            case BalanceReport():
                self.assets |= event.balances.keys()
            case ValuationPoint():
                self.last_valuation_us = max(self.last_valuation_us, event.time_us)
            case _:
                pass
        self.quantities.apply(event)
