"""Orders: refused, placed, matched, triggered, listed together, cancelled."""

import hashlib
from decimal import Decimal
from typing import NamedTuple

from infra.exchange.book import Take
from infra.exchange.decimals import ZERO, truncate
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.execution import Execution, is_set_off
from infra.exchange.ledger import Account
from infra.exchange.market import MarketEvent
from infra.exchange.matching import (
    Meeting,
    OrderRequest,
    Party,
    check_funds,
    meetings,
    priority,
    reaches,
    total,
    triggers,
)
from infra.exchange.recording import Print
from infra.exchange.records import (
    Contingency,
    Order,
    OrderEnded,
    OrderList,
    OrderListed,
    OrderPlaced,
    OrderStatus,
    OrderType,
    Side,
    SymbolStatus,
)
from infra.exchange.transactions import Trade
from infra.exchange.venue import Venue


class ListRequest(NamedTuple):
    """Orders that depend on each other, as asked for.

    Attributes:
        contingency: `OCO`: one of two ends the other. `OTO`: the filled first one puts the others to the book.
        orders: Above and below of an OCO; else working order, then one pending order or the pending pair.
        client_order_id: That of the list; empty for a made one.
    """

    contingency: Contingency
    orders: tuple[OrderRequest, ...]
    client_order_id: str = ""


class Trading:
    """Carries out what accounts order.

    Args:
        venue: Where.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._execution = Execution(venue)

    # -- what the market does to orders

    def on_print(self, event: MarketEvent, print_: Print) -> None:
        """Other people traded: orders that the trade reaches are filled, those that its price sets off work."""
        left = print_.quantity
        for order in self._reached(event.symbol, print_):
            quantity = min(left, order.remaining)
            if quantity <= ZERO:
                break
            transaction = self._venue.begin()
            self._execution.fill(transaction, order, Take(order.placed.price, quantity))
            self._execution.follow_up(transaction, order)
            self._venue.commit(transaction)
            left -= quantity
        trade_id = self._venue.next_trade_id(event.symbol)
        self._venue.market_listener.on_trade(
            Trade(event.symbol, trade_id, print_.price, print_.quantity, print_.buyer_is_maker, event.time_us)
        )
        for _, order in self._venue.open_orders_of(event.symbol):
            if order.is_open and self._waits(order) and is_set_off(order.placed, print_.price):
                transaction = self._venue.begin()
                self._execution.trigger(transaction, order)
                self._venue.commit(transaction)

    def _reached(self, symbol: str, print_: Print) -> list[Order]:
        reached = [
            order
            for _, order in self._venue.open_orders_of(symbol)
            if order.is_working and reaches(print_, order.placed)
        ]
        return sorted(reached, key=lambda order: priority(order.placed))

    def _waits(self, order: Order) -> bool:
        return not order.is_working and order.status is not OrderStatus.PENDING_NEW

    # -- refusing

    def check(self, account: Account, request: OrderRequest) -> None:
        """Refuse a request that breaks a rule of its symbol or repeats the id of an open order.

        Raises:
            ExchangeError: -1013 with the filter, or -2010.
        """
        if self._venue.status(request.symbol) is not SymbolStatus.TRADING:
            raise ExchangeError(Refusal.MARKET_CLOSED)
        rules, last_price = self._venue.listed(request.symbol), self._venue.last_price(request.symbol)
        if request.prevention not in rules.prevention_modes:
            raise ExchangeError(Refusal.PREVENTION_NOT_ALLOWED)
        if request.quantity:
            rules.check_quantity(request.quantity, request.type)
        if request.type.has_limit:
            rules.check_price(request.price, request.side, last_price)
        if request.type.is_contingent:
            rules.check_tick(request.stop_price)
        price = request.price or request.stop_price or last_price
        rules.check_notional(request.quote_quantity or price * request.quantity, request.type)
        on_symbol = [each for each in account.open_orders.values() if each.placed.symbol == request.symbol]
        if len(on_symbol) >= rules.maximum_open_orders:
            raise ExchangeError(Refusal.FILTER, "MAX_NUM_ORDERS")
        contingent = sum(each.placed.type.is_contingent for each in on_symbol)
        if request.type.is_contingent and contingent >= rules.maximum_contingent_orders:
            raise ExchangeError(Refusal.FILTER, "MAX_NUM_ALGO_ORDERS")
        if request.client_order_id and account.open_order_with(request.client_order_id):
            raise ExchangeError(Refusal.DUPLICATE_ORDER)

    # -- placing

    def place(self, account: Account, request: OrderRequest) -> Order:
        """Accept an order and match it.

        Args:
            account: Who orders.
            request: The order.

        Returns:
            The order after matching: filled, resting, waiting, or expired.

        Raises:
            ExchangeError: The order is refused; nothing changed.
        """
        self.check(account, request)
        met = self._meetings(account, request)
        self._check_funds(account, request, met)
        transaction = self._venue.begin()
        order = transaction.place(self._placed(account, request, met, transaction.time_us))
        if not request.type.is_contingent:
            self._execution.match(transaction, order, met)
        self._execution.follow_up(transaction, order)
        self._venue.commit(transaction)
        return order

    def place_list(self, account: Account, request: ListRequest) -> OrderList:
        """Accept orders that depend on each other.

        Raises:
            ExchangeError: One of them is refused; nothing changed.
        """
        for each in request.orders:
            self.check(account, each)
        still_open = {account.order_lists[each].listed.client_order_id for each in account.open_lists}
        if request.client_order_id in still_open:
            raise ExchangeError(Refusal.DUPLICATE_ORDER)
        first = request.orders[0]
        is_pair = request.contingency is Contingency.OCO
        if is_pair:
            self._check_pair(account, request.orders)
        met = [] if is_pair else self._meetings(account, first)
        if not is_pair:
            self._check_funds(account, first, met)
        transaction = self._venue.begin()
        listed = self._listed(account, request, transaction.time_us)
        transaction.list_orders(listed)
        placed = [
            transaction.place(self._placed(account, each, [], transaction.time_us, listed=listed, index=index))
            for index, each in enumerate(request.orders)
        ]
        if not is_pair:
            self._execution.match(transaction, placed[0], met)
            self._execution.follow_up(transaction, placed[0])
        self._venue.commit(transaction)
        return account.order_lists[listed.order_list_id]

    def _check_pair(self, account: Account, pair: tuple[OrderRequest, ...]) -> None:
        needed = max(_needs(each) for each in pair)
        for each in pair:
            self._meetings(account, each, refusal=Refusal.BAD_LIST_PRICES)
        rules, side = self._venue.listing[pair[0].symbol], pair[0].side
        if account.free(rules.quote if side is Side.BUY else rules.base) < needed:
            raise ExchangeError(Refusal.INSUFFICIENT_BALANCE)

    def _check_funds(self, account: Account, request: OrderRequest, met: list[Meeting]) -> None:
        # One that buys at any price once it is set off can only be judged then.
        if not (request.type.is_contingent and request.side is Side.BUY and not request.type.has_limit):
            check_funds(account, self._venue.listing[request.symbol], request, met)

    def _meetings(
        self, account: Account, request: OrderRequest, refusal: Refusal = Refusal.WOULD_TRIGGER
    ) -> list[Meeting]:
        """What an order would meet now; refused are those that must not meet anything, or be set off at once."""
        if request.type.is_contingent:
            last_price = self._venue.last_price(request.symbol)
            if triggers(last_price, request.type, request.side, request.stop_price):
                raise ExchangeError(refusal)
            return []
        rules = self._venue.listing[request.symbol]
        party = Party(account.name, account.trade_group, request.prevention)
        met = meetings(self._execution.levels(request), request, party, rules)
        if request.type is OrderType.LIMIT_MAKER and met:
            raise ExchangeError(Refusal.WOULD_MATCH)
        if request.quote_quantity and not total(met):
            raise ExchangeError(Refusal.NO_LIQUIDITY)
        return met

    def _placed(
        self,
        account: Account,
        request: OrderRequest,
        met: list[Meeting],
        time_us: int,
        *,
        listed: OrderListed | None = None,
        index: int = 0,
    ) -> OrderPlaced:
        order_id = self._venue.ledger.last_order_id + 1
        return OrderPlaced(
            account=account.name,
            order_id=order_id,
            client_order_id=request.client_order_id or made_client_order_id(account.name, f"order {order_id}"),
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force,
            quantity=request.quantity or total(met),
            price=request.price,
            quote_order_quantity=request.quote_quantity,
            time_us=time_us,
            strategy_id=request.strategy_id,
            strategy_type=request.strategy_type,
            stop_price=request.stop_price,
            order_list_id=listed.order_list_id if listed else -1,
            is_pending=listed is not None and listed.contingency is Contingency.OTO and index > 0,
            prevention=request.prevention,
            uses_sor=request.uses_sor,
        )

    def _listed(self, account: Account, request: ListRequest, time_us: int) -> OrderListed:
        ledger = self._venue.ledger
        order_list_id = ledger.last_order_list_id + 1
        ids = tuple(range(ledger.last_order_id + 1, ledger.last_order_id + 1 + len(request.orders)))
        return OrderListed(
            account=account.name,
            order_list_id=order_list_id,
            client_order_id=request.client_order_id or made_client_order_id(account.name, f"list {order_list_id}"),
            symbol=request.orders[0].symbol,
            contingency=request.contingency,
            order_ids=ids,
            client_order_ids=tuple(
                each.client_order_id or made_client_order_id(account.name, f"order {order_id}")
                for order_id, each in zip(ids, request.orders, strict=True)
            ),
            time_us=time_us,
        )

    # -- cancelling

    def cancel(self, account: Account, order: Order, client_order_id: str) -> list[OrderEnded]:
        """Take an open order off the book, and with it the list that it belongs to.

        Args:
            account: Whose it is.
            order: The order.
            client_order_id: That of the cancel itself; empty for a made one.
        """
        orders = account.orders_of_list(order.placed.order_list_id) or [order]
        transaction = self._venue.begin()
        cancel_id = client_order_id or made_client_order_id(account.name, f"cancel {order.placed.order_id}")
        ended = [
            transaction.end(each, OrderStatus.CANCELED, cancel_client_order_id=cancel_id)
            for each in orders
            if each.is_open
        ]
        self._venue.commit(transaction)
        return ended

    def expire_all(self, symbol: str) -> None:
        """End every open order on a symbol, as the exchange does when it delists it."""
        for _, order in self._venue.open_orders_of(symbol):
            transaction = self._venue.begin()
            transaction.end(order, OrderStatus.EXPIRED, reason="EXCHANGE_CANCELED")
            self._venue.commit(transaction)


def made_client_order_id(account: str, what: str) -> str:
    """A client order id for what its sender gave none."""
    return hashlib.blake2b(f"{account} {what}".encode(), digest_size=11).hexdigest()


def _needs(request: OrderRequest) -> Decimal:
    """What an order of a pair locks, in the asset that it gives."""
    if request.side is Side.SELL:
        return request.quantity
    return truncate(request.price * request.quantity) if request.type.has_limit else ZERO
