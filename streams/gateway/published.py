"""What was published of an account: where to go on, and what the ledger holds by now.

It begins with the account's book, folded from the log by the ledger's own rules, and follows what this gateway
publishes: cursors and quantities only, without values, positions and returns.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from portfolio.book import Book
from portfolio.events import (
    BalanceReport,
    CostAdjustment,
    Event,
    ExecutionKind,
    Fill,
    Flow,
    FlowKind,
    Reclassification,
    Side,
)
from portfolio.money import ZERO, exact_arithmetic
from streams.gateway.classification import Unclassified


class Quantities:
    """How much of each asset the ledger holds; it follows the ledger's order of bookings within an event.

    Attributes:
        held: Quantity of each asset; never negative.
        missing: What went out of each asset that no event explains, which the ledger books as an opening flow.
    """

    def __init__(self, held: Mapping[str, Decimal] | None = None) -> None:
        self.held: dict[str, Decimal] = dict(held or {})
        self.missing: dict[str, Decimal] = {}

    def apply(self, *events: Event) -> None:
        """Follow events that are new."""
        with exact_arithmetic():
            for event in events:
                if isinstance(event, Fill):
                    self._apply_fill(event)
                elif isinstance(event, Flow):
                    self._move(event.asset, event.quantity)

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


class _LastExecution(NamedTuple):
    """The last execution of a symbol and kind; a self-trade is one of two orders."""

    id: int
    orders: tuple[int, ...]


class Published:
    """What was published of an account so far.

    Attributes:
        quantities: What the ledger holds after it.
        assets: Every asset that was ever named.
        last_time_us: Time of the newest event; zero before the first.
        events: Number of events that were new.
        unclassified: The flows whose kind is not known, by id.
        updated_us: Time of the newest balances that the exchange reported; zero before the first.
    """

    def __init__(self) -> None:
        self.quantities = Quantities()
        self.assets: set[str] = set()
        self.last_time_us = 0
        self.events = 0
        self._last: dict[tuple[str, ExecutionKind], _LastExecution] = {}
        self.updated_us = 0
        self.unclassified: dict[str, Unclassified] = {}
        self._flows: set[str] = set()
        self._corrections: set[str] = set()

    @classmethod
    def of_book(cls, book: Book) -> "Published":
        """What a book says was published."""
        published = cls()
        published.events = book.sequence
        published.last_time_us = book.event_time_us
        published.quantities = Quantities(
            {asset: holding.quantity for asset, holding in book.holdings.items() if holding.quantity}
        )
        published.assets = {*book.holdings, *book.exchange, *book.marks, *book.fees_by_asset}
        published.updated_us = max((balance.time_us for balance in book.exchange.values()), default=0)
        published._flows = set(book.flows)
        published._corrections = set(book.adjustments)
        published.unclassified = {
            name: Unclassified(name, flow.time_us, flow.asset, flow.quantity)
            for name, flow in book.flows.items()
            if flow.kind is FlowKind.UNCLASSIFIED
        }
        published._last = {
            (symbol, execution): _LastExecution(cursor.last_id, tuple(cursor.orders))
            for symbol, totals in book.symbols.items()
            for execution, cursor in totals.cursors.items()
        }
        return published

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever published: the first sync is still to come."""
        return self.events == 0

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol that was ever traded."""
        return tuple(sorted({symbol for symbol, _ in self._last}))

    @property
    def newest_trade_id(self) -> int:
        """The largest trade id of any symbol; -1 before the first."""
        return max((last.id for (_, kind), last in self._last.items() if kind is ExecutionKind.TRADE), default=-1)

    def next_trade_id(self, symbol: str) -> int:
        """The id from which the trades of a symbol are still to be asked for.

        The last id itself is asked for again: a self-trade has two rows with it.
        """
        return self.next_id(symbol, ExecutionKind.TRADE)

    def next_id(self, symbol: str, execution: ExecutionKind) -> int:
        """The same for any kind of execution."""
        last = self._last.get((symbol, execution))
        return 0 if last is None else last.id

    def is_new(self, event: Event) -> bool:
        """Whether the ledger would book the event."""
        if isinstance(event, Fill):
            last = self._last.get((event.symbol, event.execution))
            if last is None or event.trade_id > last.id:
                return True
            return event.trade_id == last.id and event.order_id not in last.orders
        if isinstance(event, Reclassification | CostAdjustment):
            return event.id not in self._corrections
        return not (isinstance(event, Flow) and event.id in self._flows)

    def has_movement(self, movement_id: str) -> bool:
        """Whether a movement of the exchange's histories is in the log: as a flow, or as the kind of one."""
        return movement_id in self._flows or reclassification_id(movement_id) in self._corrections

    def add_new(self, events: Iterable[Event]) -> None:
        """Take note of what was published; duplicates change nothing, as in the ledger."""
        fresh = []
        for event in events:
            if self.is_new(event):
                self._note(event)
                fresh.append(event)
        self.quantities.apply(*fresh)

    def _note(self, event: Event) -> None:
        self.events += 1
        self.last_time_us = max(self.last_time_us, event.time_us)
        match event:
            case Fill():
                self._note_fill(event)
            case Flow():
                self._flows.add(event.id)
                self.assets.add(event.asset)
                if event.kind is FlowKind.UNCLASSIFIED:
                    self.unclassified[event.id] = Unclassified(event.id, event.time_us, event.asset, event.quantity)
            case Reclassification():
                self._note_reclassification(event)
            case CostAdjustment():
                self._corrections.add(event.id)
            case BalanceReport():
                self.assets |= event.balances.keys()
                self.updated_us = max(self.updated_us, event.time_us)
            case _:
                pass

    def _note_reclassification(self, event: Reclassification) -> None:
        self._corrections.add(event.id)
        if event.kind is not FlowKind.UNCLASSIFIED:
            self.unclassified.pop(event.flow_id, None)

    def _note_fill(self, fill: Fill) -> None:
        key = (fill.symbol, fill.execution)
        last = self._last.get(key)
        orders = last.orders if last is not None and last.id == fill.trade_id else ()
        self._last[key] = _LastExecution(fill.trade_id, (*orders, fill.order_id))
        self.assets |= {fill.base, fill.quote}
        if fill.fee_asset:
            self.assets.add(fill.fee_asset)


def reclassification_id(movement_id: str) -> str:
    """The id of the reclassification that a movement of the histories was the reason for."""
    return f"history:{movement_id}"
