"""Accounts: the fold of the journal's entries.

Everything that an account is follows from its entries: balances, orders, trades, flows. `apply` is the only way to
change one, while trading and while reading the journal again.
"""

from bisect import bisect_left
from collections import defaultdict
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple

from infra.exchange.decimals import ZERO, truncate
from infra.exchange.records import (
    Contingency,
    Entry,
    Filled,
    Flow,
    Operation,
    Order,
    OrderEnded,
    OrderList,
    OrderListed,
    OrderPlaced,
    OrderStatus,
    OrderType,
    OrderWorking,
    Prevented,
    Side,
    SymbolChanged,
    SymbolStatus,
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
    """One account, as of now.

    Args:
        name: Its name.
        listing: The symbols.
        trade_group: Accounts of one group do not trade with each other, unless they ask for it; -1 for none.
    """

    def __init__(self, name: str, listing: Listing, trade_group: int = -1) -> None:
        self.name = name
        self.trade_group = trade_group
        self.balances = Balances({asset: Balance() for asset in listing.assets})
        self.orders: dict[int, Order] = {}
        self.open_orders: dict[int, Order] = {}
        self.order_lists: dict[int, OrderList] = {}
        self.open_lists: set[int] = set()
        self.trades: defaultdict[str, list[Filled]] = defaultdict(list)
        self.allocations: defaultdict[str, list[Filled]] = defaultdict(list)
        self.prevented: defaultdict[str, list[Prevented]] = defaultdict(list)
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
        released = order.locked - lock_of(order.placed, order.remaining - quantity)
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

    def orders_of_list(self, order_list_id: int) -> list[Order]:
        """The orders of a list, in the order of their placing; none for no list."""
        found = self.order_lists.get(order_list_id)
        ids = found.listed.order_ids if found else ()
        return [self.orders[order_id] for order_id in ids if order_id in self.orders]

    def trades_from(self, symbol: str, trade_id: int) -> list[Filled]:
        """The trades of a symbol whose id is at least `trade_id`, in order."""
        trades = self.trades[symbol]
        return trades[bisect_left(trades, trade_id, key=attrgetter("trade_id")) :]

    def apply(self, entry: Entry) -> frozenset[str]:
        """Change the account by an entry; returns the assets whose balance it may have changed."""
        self.update_time_us = max(self.update_time_us, entry.time_us)
        match entry:
            case OrderPlaced():
                return self._place(entry)
            case Filled():
                return self._fill(entry)
            case OrderEnded():
                return self._end(entry)
            case OrderWorking():
                return self._work(entry)
            case Prevented():
                return self._prevent(entry)
            case OrderListed():
                self.order_lists[entry.order_list_id] = OrderList(entry, update_time_us=entry.time_us)
                self.open_lists.add(entry.order_list_id)
                return frozenset()
            case Operation():
                self.operations[entry.operation_id] = entry
                return frozenset()
        self.balances[entry.asset].free += entry.quantity
        self.flows.append(entry)
        return frozenset({entry.asset})

    def _place(self, placed: OrderPlaced) -> frozenset[str]:
        order = Order(placed, OrderStatus.NEW, placed.time_us)
        self.orders[placed.order_id] = self.open_orders[placed.order_id] = order
        if placed.is_pending:
            order.status = OrderStatus.PENDING_NEW
        else:
            if not placed.type.is_contingent:
                order.working_time_us = placed.time_us
            self._lock(order, self._unlocked_by_siblings(order))
        return self._assets_of(placed)

    def _work(self, working: OrderWorking) -> frozenset[str]:
        order = self.orders[working.order_id]
        order.update_time_us = working.time_us
        if order.status is OrderStatus.PENDING_NEW:
            order.status = OrderStatus.NEW
            self._lock(order, self._unlocked_by_siblings(order))
        if working.triggered or not order.placed.type.is_contingent:
            order.working_time_us = working.time_us
        return self._assets_of(order.placed)

    def _unlocked_by_siblings(self, order: Order) -> Decimal:
        """What an order must lock itself: only one of a pair can happen, so they lock what the larger one needs."""
        siblings = self.orders_of_list(order.placed.order_list_id)
        shared = sum((each.locked for each in siblings if each.is_open and each.placed.side is order.placed.side), ZERO)
        return max(lock_of(order.placed, order.remaining) - shared, ZERO)

    def _lock(self, order: Order, quantity: Decimal) -> None:
        balance = self.balances[self._given_asset(order.placed)]
        balance.free -= quantity
        balance.locked += quantity
        order.locked += quantity

    def _fill(self, fill: Filled) -> frozenset[str]:
        order = self.orders[fill.order_id]
        movement = self.movement(order, fill.price, fill.quantity)
        order.executed += fill.quantity
        order.executed_quote += fill.quote_quantity
        self._move(order, movement)
        order.update_time_us = fill.time_us
        order.status = OrderStatus.PARTIALLY_FILLED if order.remaining else OrderStatus.FILLED
        self._close_if_done(order)
        self.balances[fill.commission_asset].free -= fill.commission
        executions = self.trades if fill.allocation_id is None else self.allocations
        executions[fill.symbol].append(fill)
        self.trades_of_order.setdefault(fill.order_id, []).append(fill)
        return frozenset({movement.given_asset, movement.received_asset, fill.commission_asset})

    def _prevent(self, prevented: Prevented) -> frozenset[str]:
        order = self.orders[prevented.order_id]
        self.prevented[prevented.symbol].append(prevented)
        if not prevented.expired:
            return frozenset()
        if prevented.transferred:
            movement = self.movement(order, prevented.price, prevented.quantity)
            self._move(order, movement)
        order.prevented += prevented.expired
        order.prevented_match_id = prevented.match_id
        order.update_time_us = prevented.time_us
        if not order.remaining:
            order.status = OrderStatus.EXPIRED_IN_MATCH
        self._lock(order, lock_of(order.placed, order.remaining) - order.locked)
        self._close_if_done(order)
        return self._assets_of(order.placed)

    def _move(self, order: Order, movement: Movement) -> None:
        order.locked -= movement.released
        given = self.balances[movement.given_asset]
        given.locked -= movement.released
        given.free += movement.released - movement.given
        self.balances[movement.received_asset].free += movement.received

    def _end(self, ended: OrderEnded) -> frozenset[str]:
        order = self.orders[ended.order_id]
        self._lock(order, -order.locked)
        order.status = ended.status
        order.reason = ended.reason
        order.update_time_us = ended.time_us
        self._close_if_done(order)
        return self._assets_of(order.placed)

    def _close_if_done(self, order: Order) -> None:
        if order.is_open:
            return
        self.open_orders.pop(order.placed.order_id, None)
        if order.placed.order_list_id not in self.order_lists:
            return
        left = [each for each in self.orders_of_list(order.placed.order_list_id) if each.is_open]
        for each in left:
            # What the one that is done had locked for both.
            if each.status is not OrderStatus.PENDING_NEW:
                self._lock(each, self._unlocked_by_siblings(each))
        order_list = self.order_lists[order.placed.order_list_id]
        order_list.is_open = len(left) > 1 if order_list.listed.contingency is Contingency.OCO else bool(left)
        order_list.update_time_us = order.update_time_us
        if not order_list.is_open:
            self.open_lists.discard(order.placed.order_list_id)

    def _given_asset(self, placed: OrderPlaced) -> str:
        rules = self._listing[placed.symbol]
        return rules.quote if placed.side is Side.BUY else rules.base

    def _assets_of(self, placed: OrderPlaced) -> frozenset[str]:
        rules = self._listing[placed.symbol]
        return frozenset({rules.base, rules.quote})


def lock_of(placed: OrderPlaced, quantity: Decimal) -> Decimal:
    """What an order locks while `quantity` of it is left: what it may give, nothing when it trades at any price."""
    if placed.type is OrderType.MARKET:
        return ZERO
    if placed.side is Side.SELL:
        return quantity
    return truncate(placed.price * quantity) if placed.type.has_limit else ZERO


class Ledger:
    """All accounts, and the counters that number what happens to them."""

    def __init__(self, listing: Listing) -> None:
        self.accounts: dict[str, Account] = {}
        self.last_order_id = 0
        self.last_order_list_id = 0
        self.last_operation_id = 0
        self.last_trade_ids: defaultdict[str, int] = defaultdict(int)
        self.last_allocation_ids: defaultdict[str, int] = defaultdict(lambda: -1)
        self.last_match_ids: defaultdict[str, int] = defaultdict(lambda: -1)
        self.trade_counts: defaultdict[str, int] = defaultdict(int)
        self.statuses: dict[str, SymbolChanged] = {}
        self.entry_count = 0
        self.last_time_us = 0
        self._listing = listing

    def account(self, name: str) -> Account:
        """The account of a name, made when it is first asked for."""
        return self.accounts.setdefault(name, Account(name, self._listing))

    def is_trading(self, symbol: str) -> bool:
        """Whether a symbol is neither halted nor delisted."""
        changed = self.statuses.get(symbol)
        return changed is None or changed.status is SymbolStatus.TRADING

    def wipe(self, wiped: Wiped) -> None:
        """Forget what every account has and did; ids and times go on."""
        self.last_time_us = max(self.last_time_us, wiped.time_us)
        self.accounts = {
            each.name: Account(each.name, self._listing, each.trade_group) for each in self.accounts.values()
        }

    def change_symbol(self, changed: SymbolChanged) -> None:
        """Note that a symbol was listed, halted, delisted, or trades again."""
        self.last_time_us = max(self.last_time_us, changed.time_us)
        self.statuses[changed.symbol] = changed

    def apply(self, entry: Entry) -> frozenset[str]:
        """Fold an entry into its account; returns the assets whose balance it may have changed."""
        self.entry_count += 1
        self.last_time_us = max(self.last_time_us, entry.time_us)
        match entry:
            case OrderPlaced():
                self.last_order_id = entry.order_id
            case OrderListed():
                self.last_order_list_id = entry.order_list_id
            case Prevented():
                self.last_match_ids[entry.symbol] = entry.match_id
            case Filled(allocation_id=None):
                # The two sides of a trade between accounts share an id, and count once.
                self.trade_counts[entry.symbol] += entry.trade_id > self.last_trade_ids[entry.symbol]
                self.last_trade_ids[entry.symbol] = entry.trade_id
            case Filled(allocation_id=int(allocation_id)):
                self.last_allocation_ids[entry.symbol] = allocation_id
            case Operation():
                self.last_operation_id = max(self.last_operation_id, entry.operation_id)
        return self.account(entry.account).apply(entry)
