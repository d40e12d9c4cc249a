"""A transaction while it is being made: entries, applied as they come, and the events that tell of them."""

from decimal import Decimal
from typing import NamedTuple

from infra.exchange.book import Take
from infra.exchange.decimals import truncate
from infra.exchange.events import Event, account_position, balance_update, execution_report
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
    OrderPlaced,
    OrderStatus,
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
    """Changes of one account at one moment.

    Args:
        ledger: Where entries are applied.
        account: Whose they are.
        time_us: The moment.
    """

    def __init__(self, ledger: Ledger, account: Account, time_us: int) -> None:
        self.account = account
        self.time_us = time_us
        self.trades: list[Trade] = []
        self._ledger = ledger
        self._entries: list[Entry] = []
        self._reports: list[Event] = []
        self._assets: frozenset[str] = frozenset()

    def place(self, placed: OrderPlaced) -> Order:
        """Accept an order."""
        self._apply(placed)
        order = self.account.orders[placed.order_id]
        self._report(order, placed)
        return order

    def fill(
        self, order: Order, take: Take, trade_id: int, price_in_bnb: Decimal, fees: FeeSchedule, *, is_maker: bool
    ) -> None:
        """Fill a part of an order.

        Args:
            order: The order.
            take: Price and quantity.
            trade_id: The id of the trade.
            price_in_bnb: The price of the quote asset in BNB.
            fees: The rates of commission.
            is_maker: Whether the order rested on the book.
        """
        placed = order.placed
        quote_quantity = truncate(take.price * take.quantity)
        movement = self.account.movement(order, take.price, take.quantity)
        commission = fees.commission(self.account, movement, quote_quantity * price_in_bnb, is_maker=is_maker)
        fill = Filled(
            account=self.account.name,
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
        )
        self._apply(fill)
        self._report(order, fill)
        buyer_is_maker = is_maker == (placed.side is Side.BUY)
        self.trades.append(Trade(placed.symbol, trade_id, take.price, take.quantity, buyer_is_maker, self.time_us))

    def end(
        self, order: Order, status: OrderStatus, *, cancel_client_order_id: str = "", reason: str = ""
    ) -> OrderEnded:
        """Take what is left of an order off the book."""
        ended = OrderEnded(
            account=self.account.name,
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

    def move(self, asset: str, quantity: Decimal, kind: FlowKind, price: Decimal, operation_id: int = 0) -> Flow:
        """Bring assets in or take them out; `price` is in USDT."""
        flow = Flow(
            account=self.account.name,
            flow_id=f"{kind}-{self._ledger.entry_count + 1}",
            asset=asset,
            quantity=quantity,
            kind=kind,
            price=price,
            time_us=self.time_us,
            operation_id=operation_id,
        )
        self._apply(flow)
        self._reports.append(balance_update(flow))
        return flow

    def closed(self) -> Transaction:
        """The transaction as it is journaled."""
        return Transaction(self.time_us, tuple(self._entries))

    def events(self) -> list[Event]:
        """What the account is told: a report of each entry, then one account position with the same `E`."""
        if not self._reports:
            return []
        return [*self._reports, account_position(self.account, self._assets, self.time_us)]

    def _apply(self, entry: Entry) -> None:
        self._assets |= self._ledger.apply(entry)
        self._entries.append(entry)

    def _report(self, order: Order, entry: OrderPlaced | Filled | OrderEnded) -> None:
        self._reports.append(execution_report(order, entry, self._ledger.entry_count))
