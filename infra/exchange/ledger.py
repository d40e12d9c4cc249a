"""Accounts: the fold of the journal's entries.

Everything that an account is follows from its entries: balances, orders, trades, flows. `apply` is the only way to
change one, while trading and while reading the journal again.
"""

from bisect import bisect_left
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple

from infra.exchange.decimals import ZERO, truncate
from infra.exchange.records import (
    Entry,
    Filled,
    Flow,
    Operation,
    Order,
    OrderEnded,
    OrderPlaced,
    OrderStatus,
    OrderType,
    Side,
    Wiped,
)
from infra.exchange.symbols import Listing

# What a flexible Earn product holds is in the spot wallet under the asset's name with this before it.
EARN_PREFIX = "LD"


class Balance:
    """What an account has of one asset: free to use, and locked by open orders."""

    __slots__ = ("free", "locked")

    def __init__(self) -> None:
        self.free = ZERO
        self.locked = ZERO


class Balances(dict[str, Balance]):
    """Balances by asset; one that an account never had is made when something is booked on it."""

    def __missing__(self, asset: str) -> Balance:
        self[asset] = Balance()
        return self[asset]


class Movement(NamedTuple):
    """What a trade moves, before commission: an amount given, the lock it releases, an amount received."""

    given_asset: str
    given: Decimal
    released: Decimal
    received_asset: str
    received: Decimal


class Account:
    """One account, as of now."""

    def __init__(self, name: str, listing: Listing) -> None:
        self.name = name
        self.balances = Balances({asset: Balance() for asset in listing.assets})
        self.orders: dict[int, Order] = {}
        self.open_orders: dict[int, Order] = {}
        self.trades: dict[str, list[Filled]] = {symbol: [] for symbol in listing.rules}
        self.trades_of_order: dict[int, list[Filled]] = {}
        self.flows: list[Flow] = []
        self.operations: dict[int, Operation] = {}
        self.update_time_us = 0
        self._listing = listing

    def free(self, asset: str) -> Decimal:
        """What is free of an asset, one that the account never had included."""
        balance = self.balances.get(asset)
        return ZERO if balance is None else balance.free

    def movement(self, order: Order, price: Decimal, quantity: Decimal) -> Movement:
        """What filling `quantity` of an order at `price` moves."""
        rules = self._listing[order.placed.symbol]
        quote_quantity = truncate(price * quantity)
        released = order.locked - _lock(order.placed, order.remaining - quantity)
        if order.placed.side is Side.BUY:
            return Movement(rules.quote, quote_quantity, released, rules.base, quantity)
        return Movement(rules.base, quantity, released, rules.quote, quote_quantity)

    def free_after(self, asset: str, movement: Movement) -> Decimal:
        """What would be free of an asset after a movement."""
        free = self.balances[asset].free
        if asset == movement.received_asset:
            free += movement.received
        if asset == movement.given_asset:
            free += movement.released - movement.given
        return free

    def open_order_with(self, client_order_id: str) -> Order | None:
        """The open order that carries a client order id."""
        matches = (each for each in self.open_orders.values() if each.placed.client_order_id == client_order_id)
        return next(matches, None)

    def trades_from(self, symbol: str, trade_id: int) -> list[Filled]:
        """The trades of a symbol whose id is at least `trade_id`, in order."""
        trades = self.trades[symbol]
        return trades[bisect_left(trades, trade_id, key=attrgetter("trade_id")) :]

    def apply(self, entry: Entry) -> frozenset[str]:
        """Change the account by an entry; returns the assets whose balance it may have changed."""
        self.update_time_us = max(self.update_time_us, entry.time_us)
        if isinstance(entry, OrderPlaced):
            return self._place(entry)
        if isinstance(entry, Filled):
            return self._fill(entry)
        if isinstance(entry, OrderEnded):
            return self._end(entry)
        if isinstance(entry, Operation):
            self.operations[entry.operation_id] = entry
            return frozenset()
        self.balances[entry.asset].free += entry.quantity
        self.flows.append(entry)
        return frozenset({entry.asset})

    def _place(self, placed: OrderPlaced) -> frozenset[str]:
        order = Order(placed, OrderStatus.NEW, placed.time_us, locked=_lock(placed, placed.quantity))
        self.orders[placed.order_id] = self.open_orders[placed.order_id] = order
        balance = self.balances[self._given_asset(placed)]
        balance.free -= order.locked
        balance.locked += order.locked
        rules = self._listing[placed.symbol]
        return frozenset({rules.base, rules.quote})

    def _fill(self, fill: Filled) -> frozenset[str]:
        order = self.orders[fill.order_id]
        movement = self.movement(order, fill.price, fill.quantity)
        order.executed += fill.quantity
        order.executed_quote += fill.quote_quantity
        order.locked -= movement.released
        order.update_time_us = fill.time_us
        order.status = OrderStatus.PARTIALLY_FILLED if order.remaining else OrderStatus.FILLED
        if not order.remaining:
            del self.open_orders[fill.order_id]
        given = self.balances[movement.given_asset]
        given.locked -= movement.released
        given.free += movement.released - movement.given
        self.balances[movement.received_asset].free += movement.received
        self.balances[fill.commission_asset].free -= fill.commission
        self.trades[fill.symbol].append(fill)
        self.trades_of_order.setdefault(fill.order_id, []).append(fill)
        return frozenset({movement.given_asset, movement.received_asset, fill.commission_asset})

    def _end(self, ended: OrderEnded) -> frozenset[str]:
        order = self.open_orders.pop(ended.order_id)
        balance = self.balances[self._given_asset(order.placed)]
        balance.locked -= order.locked
        balance.free += order.locked
        order.locked = ZERO
        order.status = ended.status
        order.reason = ended.reason
        order.update_time_us = ended.time_us
        rules = self._listing[order.placed.symbol]
        return frozenset({rules.base, rules.quote})

    def _given_asset(self, placed: OrderPlaced) -> str:
        rules = self._listing[placed.symbol]
        return rules.quote if placed.side is Side.BUY else rules.base


def _lock(placed: OrderPlaced, quantity: Decimal) -> Decimal:
    if placed.type is OrderType.MARKET:
        return ZERO
    return truncate(placed.price * quantity) if placed.side is Side.BUY else quantity


class Ledger:
    """All accounts, and the counters that number what happens to them."""

    def __init__(self, listing: Listing) -> None:
        self.accounts: dict[str, Account] = {}
        self.last_order_id = 0
        self.last_operation_id = 0
        self.last_trade_ids = dict.fromkeys(listing.rules, 0)
        self.trade_counts = dict.fromkeys(listing.rules, 0)
        self.entry_count = 0
        self.last_time_us = 0
        self._listing = listing

    def account(self, name: str) -> Account:
        """The account of a name, made when it is first asked for."""
        return self.accounts.setdefault(name, Account(name, self._listing))

    def wipe(self, wiped: Wiped) -> None:
        """Forget every account; ids and times go on."""
        self.last_time_us = max(self.last_time_us, wiped.time_us)
        self.accounts.clear()

    def apply(self, entry: Entry) -> frozenset[str]:
        """Fold an entry into its account; returns the assets whose balance it may have changed."""
        self.entry_count += 1
        self.last_time_us = max(self.last_time_us, entry.time_us)
        if isinstance(entry, OrderPlaced):
            self.last_order_id = entry.order_id
        elif isinstance(entry, Filled):
            self.last_trade_ids[entry.symbol] = entry.trade_id
            self.trade_counts[entry.symbol] += 1
        elif isinstance(entry, Operation):
            self.last_operation_id = max(self.last_operation_id, entry.operation_id)
        return self.account(entry.account).apply(entry)
