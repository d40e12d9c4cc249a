"""Carrying orders out: fills, trades between accounts, prevented ones, and what they mean for the rest of a list."""

from collections.abc import Iterator
from decimal import Decimal

from infra.exchange.book import Take
from infra.exchange.decimals import ZERO, truncate
from infra.exchange.ledger import Account, lock_of
from infra.exchange.matching import (
    Level,
    Meeting,
    OrderRequest,
    Party,
    best_first,
    crossing,
    meetings,
    traded,
    triggers,
)
from infra.exchange.records import (
    Order,
    OrderPlaced,
    OrderStatus,
    OrderType,
    Prevented,
    PreventionMode,
    Side,
    SymbolStatus,
    TimeInForce,
)
from infra.exchange.transactions import OpenTransaction
from infra.exchange.venue import Venue

_OPPOSITE = {Side.BUY: Side.SELL, Side.SELL: Side.BUY}
_EXPIRES_TAKER = {PreventionMode.EXPIRE_TAKER, PreventionMode.EXPIRE_BOTH}
_EXPIRES_MAKER = {PreventionMode.EXPIRE_MAKER, PreventionMode.EXPIRE_BOTH}


class Execution:
    """Lets orders meet what there is.

    Args:
        venue: Where.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def levels(self, request: OrderRequest) -> Iterator[Level]:
        """What an order could meet now, best price first."""
        venue, side = self._venue, request.side
        if request.uses_sor:
            # What is routed takes from the market's own quantities only.
            symbols = venue.listing.sor_symbols(request.symbol)
            trading = [each for each in symbols if venue.status(each) is SymbolStatus.TRADING]
            return best_first([crossing(venue.book(each), each, (), side) for each in trading], side)
        resting = venue.resting(request.symbol, _OPPOSITE[side])
        return crossing(venue.book(request.symbol), request.symbol, resting, side)

    def match(self, transaction: OpenTransaction, order: Order, met: list[Meeting]) -> None:
        """Let an order meet what it was found to meet; what its kind does not let rest expires."""
        placed = order.placed
        if placed.time_in_force is TimeInForce.FOK and traded(met) < order.remaining:
            transaction.end(order, OrderStatus.EXPIRED, reason="UNFILLED_FOK_ORDER_EXPIRED")
            return
        for each in met:
            self._end_siblings(transaction, order)
            if each.maker is None:
                self._take_from_market(transaction, order, each)
            else:
                self._end_siblings(transaction, each.maker)
                meet = self._trade if each.mode is PreventionMode.NONE else self._prevent
                meet(transaction, order, each.maker, each)
                self.follow_up(transaction, each.maker)
        if order.is_open and not placed.type.has_limit:
            transaction.end(order, OrderStatus.EXPIRED, reason="INSUFFICIENT_LIQUIDITY")
        elif order.is_open and placed.time_in_force is TimeInForce.IOC:
            transaction.end(order, OrderStatus.EXPIRED, reason="UNFILLED_IOC_QUANTITY_EXPIRED")

    def _take_from_market(self, transaction: OpenTransaction, order: Order, meeting: Meeting) -> None:
        take = Take(meeting.price, meeting.quantity)
        self._venue.book(meeting.symbol).take(*take)
        if order.placed.uses_sor:
            allocation_id = self._venue.ledger.last_allocation_ids[order.placed.symbol] + 1
            price_in_bnb = self._price_in_bnb(order)
            transaction.fill(
                order, take, -1, price_in_bnb, self._venue.fees, is_maker=False, allocation_id=allocation_id
            )
            return
        trade_id = self._venue.next_trade_id(order.placed.symbol)
        transaction.fill(order, take, trade_id, self._price_in_bnb(order), self._venue.fees, is_maker=False)
        transaction.publish(order, take, trade_id, is_maker=False)

    def _trade(self, transaction: OpenTransaction, taker: Order, maker: Order, meeting: Meeting) -> None:
        """A trade between two accounts, or of one with itself: both sides have the same id."""
        take = Take(meeting.price, meeting.quantity)
        trade_id = self._venue.next_trade_id(taker.placed.symbol)
        for order in (maker, taker):
            transaction.fill(
                order, take, trade_id, self._price_in_bnb(order), self._venue.fees, is_maker=order is maker
            )
        transaction.publish(taker, take, trade_id, is_maker=False)

    def _price_in_bnb(self, order: Order) -> Decimal:
        return self._venue.price_in_bnb(self._venue.listing[order.placed.symbol].quote)

    def _prevent(self, transaction: OpenTransaction, taker: Order, maker: Order, meeting: Meeting) -> None:
        mode, decrements = meeting.mode, meeting.mode in {PreventionMode.DECREMENT, PreventionMode.TRANSFER}
        expired = {
            taker.placed.order_id: meeting.quantity if decrements else taker.remaining * (mode in _EXPIRES_TAKER),
            maker.placed.order_id: meeting.quantity if decrements else maker.remaining * (mode in _EXPIRES_MAKER),
        }
        is_own = taker.placed.account == maker.placed.account
        match_id = self._venue.ledger.last_match_ids[taker.placed.symbol] + 1
        for order, counter in ((maker, taker), (taker, maker)):
            prevented = Prevented(
                account=order.placed.account,
                symbol=order.placed.symbol,
                match_id=match_id,
                order_id=order.placed.order_id,
                counter_order_id=counter.placed.order_id,
                is_maker=order is maker,
                mode=mode,
                price=meeting.price,
                quantity=meeting.quantity,
                quote_quantity=truncate(meeting.price * meeting.quantity),
                expired=expired[order.placed.order_id],
                taker_expired=expired[taker.placed.order_id],
                maker_expired=expired[maker.placed.order_id],
                transferred=mode is PreventionMode.TRANSFER,
                trade_group=-1 if is_own else transaction.account_of(order).trade_group,
                time_us=transaction.time_us,
            )
            transaction.prevent(order, prevented)

    def fill(self, transaction: OpenTransaction, order: Order, take: Take) -> None:
        """Fill a resting order by other people's trade."""
        self._end_siblings(transaction, order)
        trade_id = self._venue.next_trade_id(order.placed.symbol)
        transaction.fill(order, take, trade_id, self._price_in_bnb(order), self._venue.fees, is_maker=True)
        transaction.publish(order, take, trade_id, is_maker=True)

    def trigger(self, transaction: OpenTransaction, order: Order) -> None:
        """Let an order work whose stop price was reached."""
        self._end_siblings(transaction, order)
        transaction.work(order, triggered=True)
        self._take(transaction, order)
        self.follow_up(transaction, order)

    def _take(self, transaction: OpenTransaction, order: Order) -> None:
        """Match an order that was on the exchange already; what its account cannot pay for expires."""
        placed, account = order.placed, transaction.account_of(order)
        request = OrderRequest(placed.symbol, placed.side, placed.type, quantity=order.remaining, price=placed.price)
        party = Party(account.name, account.trade_group, placed.prevention)
        met = meetings(self.levels(request), request, party, self._venue.listing[placed.symbol])
        if self._is_beyond_means(account, order, met) or (placed.type is OrderType.LIMIT_MAKER and met):
            transaction.end(order, OrderStatus.EXPIRED, reason="REJECTED")
            return
        self.match(transaction, order, met)

    def _is_beyond_means(self, account: Account, order: Order, met: list[Meeting]) -> bool:
        """Whether an order that trades at any price, and so has locked too little, costs more than there is."""
        if order.placed.type.has_limit:
            return False
        rules = self._venue.listing[order.placed.symbol]
        if order.placed.side is Side.SELL:
            return account.free(rules.base) + order.locked < order.remaining
        return account.free(rules.quote) < sum((each.price * each.quantity for each in met if each.moves), ZERO)

    def _end_siblings(self, transaction: OpenTransaction, order: Order) -> None:
        """One of a pair begins to be filled or set off: the other one is over."""
        for sibling in transaction.account_of(order).orders_of_list(order.placed.order_list_id):
            if sibling is not order and sibling.is_open and sibling.status is not OrderStatus.PENDING_NEW:
                transaction.end(sibling, OrderStatus.EXPIRED, reason="OCO_TRIGGER")

    def follow_up(self, transaction: OpenTransaction, order: Order) -> None:
        """What an order's end means for those that wait for it, or were a pair with it."""
        if order.is_open or order.placed.order_list_id == -1:
            return
        self._end_siblings(transaction, order)
        for pending in transaction.account_of(order).orders_of_list(order.placed.order_list_id):
            if pending.status is not OrderStatus.PENDING_NEW:
                continue
            if order.status is OrderStatus.FILLED:
                self._put_to_book(transaction, pending)
            else:
                transaction.end(pending, OrderStatus.EXPIRED, reason="OTO_PHASE_ONE_EXPIRED")

    def _put_to_book(self, transaction: OpenTransaction, pending: Order) -> None:
        placed, account = pending.placed, transaction.account_of(pending)
        rules = self._venue.listing[placed.symbol]
        locked = sum((each.locked for each in account.orders_of_list(placed.order_list_id)), ZERO)
        needed = max(lock_of(placed, pending.remaining) - locked, ZERO)
        last_price = self._venue.last_price(placed.symbol)
        if account.free(rules.quote if placed.side is Side.BUY else rules.base) < needed or (
            placed.type.is_contingent and is_set_off(placed, last_price)
        ):
            transaction.end(pending, OrderStatus.EXPIRED, reason="REJECTED")
            return
        transaction.work(pending, triggered=False)
        if not placed.type.is_contingent:
            self._take(transaction, pending)


def is_set_off(placed: OrderPlaced, last_price: Decimal) -> bool:
    """Whether a last price sets an order off that waits for its stop price."""
    return placed.type.is_contingent and triggers(last_price, placed.type, placed.side, placed.stop_price)
