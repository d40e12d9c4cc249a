"""A transaction while it is being made: entries, applied as they come, and the events that tell of them."""

from collections import defaultdict
from decimal import Decimal
from typing import NamedTuple

from infra.exchange.book import Take
from infra.exchange.decimals import truncate
from infra.exchange.events import Event, account_position, balance_update, execution_report, list_status
from infra.exchange.fees import FeeSchedule
from infra.exchange.ledger import Account, Ledger
from infra.exchange.records import (
    Entry,
    Filled,
    Flow,
    FlowKind,
    Operation,
    Order,
    OrderEnded,
    OrderListed,
    OrderPlaced,
    OrderStatus,
    OrderWorking,
    Prevented,
    Side,
    Transaction,
)


class Trade(NamedTuple):
    """A trade on the public tape: other people's, or an account's."""

    symbol: str
    trade_id: int
    price: Decimal
    quantity: Decimal
    buyer_is_maker: bool
    time_us: int


class OpenTransaction:
    """Changes at one moment, mostly of one account.

    Args:
        ledger: Where entries are applied.
        time_us: The moment.
    """

    def __init__(self, ledger: Ledger, time_us: int) -> None:
        self.time_us = time_us
        self.trades: list[Trade] = []
        self._ledger = ledger
        self._entries: list[Entry] = []
        self._reports: defaultdict[str, list[Event]] = defaultdict(list)
        self._lists: defaultdict[str, list[Event]] = defaultdict(list)
        self._assets: defaultdict[str, frozenset[str]] = defaultdict(frozenset)

    def account_of(self, order: Order) -> Account:
        """Whose an order is."""
        return self._ledger.account(order.placed.account)

    def place(self, placed: OrderPlaced) -> Order:
        """Accept an order."""
        self._apply(placed)
        order = self._ledger.account(placed.account).orders[placed.order_id]
        self._report(order, placed)
        return order

    def list_orders(self, listed: OrderListed) -> None:
        """Accept a list of orders; they are placed next."""
        self._apply(listed)
        account = self._ledger.account(listed.account)
        self._lists[listed.account].append(list_status(account.order_lists[listed.order_list_id], self.time_us))

    def work(self, order: Order, *, triggered: bool) -> None:
        """Put an order to the book that waited for its stop price, or for the working order of its list."""
        working = OrderWorking(order.placed.account, order.placed.order_id, self.time_us, triggered)
        self._apply(working)
        self._report(order, working)

    def fill(
        self,
        order: Order,
        take: Take,
        trade_id: int,
        price_in_bnb: Decimal,
        fees: FeeSchedule,
        *,
        is_maker: bool,
        allocation_id: int | None = None,
    ) -> None:
        """Fill a part of an order.

        Args:
            order: The order.
            take: Price and quantity.
            trade_id: The id of the trade; -1 for an allocation.
            price_in_bnb: The price of the quote asset in BNB.
            fees: The rates of commission.
            is_maker: Whether the order rested on the book.
            allocation_id: What smart order routing numbers it with.
        """
        placed, account = order.placed, self.account_of(order)
        quote_quantity = truncate(take.price * take.quantity)
        movement = account.movement(order, take.price, take.quantity)
        commission = fees.commission(account, movement, quote_quantity * price_in_bnb, is_maker=is_maker)
        fill = Filled(
            account=account.name,
            symbol=placed.symbol,
            order_id=placed.order_id,
            trade_id=trade_id,
            price=take.price,
            quantity=take.quantity,
            quote_quantity=quote_quantity,
            commission=commission.amount,
            commission_asset=commission.asset,
            is_maker=is_maker,
            time_us=self.time_us,
            allocation_id=allocation_id,
        )
        self._apply(fill)
        self._report(order, fill)

    def publish(self, order: Order, take: Take, trade_id: int, *, is_maker: bool) -> None:
        """Put a trade of an order on the public tape."""
        buyer_is_maker = is_maker == (order.placed.side is Side.BUY)
        trade = Trade(order.placed.symbol, trade_id, take.price, take.quantity, buyer_is_maker, self.time_us)
        self.trades.append(trade)

    def prevent(self, order: Order, prevented: Prevented) -> None:
        """Keep an order from trading with one of its own; who loses nothing by it is not told."""
        self._apply(prevented)
        if prevented.expired:
            self._report(order, prevented)

    def end(
        self, order: Order, status: OrderStatus, *, cancel_client_order_id: str = "", reason: str = ""
    ) -> OrderEnded:
        """Take what is left of an order off the book."""
        ended = OrderEnded(
            account=order.placed.account,
            order_id=order.placed.order_id,
            status=status,
            time_us=self.time_us,
            cancel_client_order_id=cancel_client_order_id,
            reason=reason,
        )
        self._apply(ended)
        self._report(order, ended)
        return ended

    def operate(self, operation: Operation) -> None:
        """Note an operation, or its new status."""
        self._apply(operation)

    def move(
        self, account: Account, asset: str, quantity: Decimal, kind: FlowKind, *, price: Decimal, operation_id: int = 0
    ) -> Flow:
        """Bring assets in or take them out; `price` is in USDT."""
        flow = Flow(
            account=account.name,
            flow_id=f"{kind}-{self._ledger.entry_count + 1}",
            asset=asset,
            quantity=quantity,
            kind=kind,
            price=price,
            time_us=self.time_us,
            operation_id=operation_id,
        )
        self._apply(flow)
        self._reports[account.name].append(balance_update(flow))
        return flow

    def closed(self) -> Transaction:
        """The transaction as it is journaled."""
        return Transaction(self.time_us, tuple(self._entries))

    def events(self) -> dict[str, list[Event]]:
        """What each account is told: a report of each entry, lists, then one account position with the same `E`."""
        return {
            name: [
                *reports,
                *self._lists[name],
                account_position(self._ledger.account(name), self._assets[name], self.time_us),
            ]
            for name, reports in self._reports.items()
        }

    def _apply(self, entry: Entry) -> None:
        account = self._ledger.account(entry.account)
        open_before = set(account.open_lists)
        self._assets[entry.account] |= self._ledger.apply(entry)
        self._entries.append(entry)
        for order_list_id in sorted(open_before - account.open_lists):
            self._lists[entry.account].append(list_status(account.order_lists[order_list_id], self.time_us))

    def _report(self, order: Order, entry: OrderPlaced | OrderWorking | Prevented | Filled | OrderEnded) -> None:
        report = execution_report(order, entry, self._ledger.entry_count)
        self._reports[order.placed.account].append(report)
