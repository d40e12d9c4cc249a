"""Rules of matching: what a taker meets, in which order, and what keeps it from trading with itself.

A taker meets the recorded market and the resting orders of all accounts, best price first; at one price the accounts'
orders come before the market's, the oldest first. (Binance's "Self Trade Prevention FAQ" for the modes.)
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from heapq import merge
from typing import NamedTuple

from infra.exchange.book import Book
from infra.exchange.decimals import ZERO, floor_to_step, truncate
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.ledger import Account
from infra.exchange.recording import Print
from infra.exchange.records import Order, OrderPlaced, OrderType, PreventionMode, Side, TimeInForce
from infra.exchange.symbols import SymbolRules


class OrderRequest(NamedTuple):
    """An order as asked for. Exactly one of `quantity` and `quote_quantity` is not zero."""

    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce = TimeInForce.GTC
    quantity: Decimal = ZERO
    quote_quantity: Decimal = ZERO
    price: Decimal = ZERO
    client_order_id: str = ""
    strategy_id: int | None = None
    strategy_type: int | None = None
    stop_price: Decimal = ZERO
    prevention: PreventionMode = PreventionMode.NONE
    uses_sor: bool = False


class Party(NamedTuple):
    """Who takes: an account, its trade group (-1 for none), and what it wants done about its own orders."""

    account: str
    trade_group: int
    prevention: PreventionMode


class Resting(NamedTuple):
    """An order on the book, and the trade group of its account."""

    order: Order
    trade_group: int


class Meeting(NamedTuple):
    """What a taker meets: so much at one price.

    Attributes:
        maker: The order that rests there; none for the market's own quantity.
        mode: `NONE` is a trade; every other mode prevents it.
        symbol: Whose book it is.
    """

    price: Decimal
    quantity: Decimal
    maker: Order | None
    mode: PreventionMode
    symbol: str

    @property
    def moves(self) -> bool:
        """Whether money changes hands."""
        return self.mode in {PreventionMode.NONE, PreventionMode.TRANSFER}


class Level(NamedTuple):
    """So much at one price: an account's order, or the market's own."""

    price: Decimal
    quantity: Decimal
    resting: Resting | None
    symbol: str


def crossing(book: Book, symbol: str, resting: Iterable[Resting], side: Side) -> Iterator[Level]:
    """Everything that a taker of a side could meet on a symbol, best price first.

    Args:
        book: The market's own quantities.
        symbol: The symbol.
        resting: Orders of accounts on the other side.
        side: The taker's.
    """
    own = sorted(resting, key=lambda each: priority(each.order.placed))
    orders = (Level(each.order.placed.price, each.order.remaining, each, symbol) for each in own)
    market = (Level(*level, None, symbol) for level in book.levels(side))
    return merge(orders, market, key=lambda level: _worse(side, level.price))


def best_first(levels: Iterable[Iterator[Level]], side: Side) -> Iterator[Level]:
    """The levels of several books as one."""
    return merge(*levels, key=lambda level: _worse(side, level.price))


def meetings(levels: Iterable[Level], request: OrderRequest, party: Party, rules: SymbolRules) -> list[Meeting]:
    """What an order meets, until it is done, its price is reached, or it expires for meeting itself."""
    limit = request.price if request.type.has_limit else None
    left = request.quote_quantity or request.quantity
    met: list[Meeting] = []
    for level in levels:
        if limit is not None and (level.price > limit if request.side is Side.BUY else level.price < limit):
            break
        wanted = floor_to_step(left / level.price, rules.step) if request.quote_quantity else left
        quantity = min(level.quantity, wanted)
        if quantity <= ZERO:
            break
        mode = PreventionMode.NONE if level.resting is None else effective_mode(party, level.resting)
        met.append(Meeting(level.price, quantity, level.resting and level.resting.order, mode, level.symbol))
        if mode in {PreventionMode.EXPIRE_TAKER, PreventionMode.EXPIRE_BOTH}:
            break
        if mode is not PreventionMode.EXPIRE_MAKER:
            left -= truncate(level.price * quantity) if request.quote_quantity else quantity
    return met


def effective_mode(taker: Party, maker: Resting) -> PreventionMode:
    """What is done when a taker meets an order: `NONE` unless both are of one account or trade group."""
    is_own = maker.order.placed.account == taker.account
    if not is_own and (taker.trade_group == -1 or taker.trade_group != maker.trade_group):
        return PreventionMode.NONE
    if taker.prevention is not PreventionMode.TRANSFER:
        return taker.prevention
    both = maker.order.placed.prevention is PreventionMode.TRANSFER
    return PreventionMode.TRANSFER if both and not is_own else PreventionMode.DECREMENT


def check_funds(account: Account, rules: SymbolRules, request: OrderRequest, met: list[Meeting]) -> None:
    """Refuse with -2010 an order that the account cannot pay for."""
    if request.side is Side.SELL:
        asset, needed = rules.base, request.quantity or traded(met)
    elif request.type is OrderType.MARKET:
        cost = sum((each.price * each.quantity for each in met if each.moves), ZERO)
        asset, needed = rules.quote, request.quote_quantity or cost
    else:
        asset, needed = rules.quote, request.price * request.quantity
    if account.free(asset) < needed:
        raise ExchangeError(Refusal.INSUFFICIENT_BALANCE)


def reaches(print_: Print, placed: OrderPlaced) -> bool:
    """Whether a trade of the market reaches a resting order.

    One beyond the limit does, whoever its taker was; one at the limit does if its taker was on the other side.
    """
    if placed.side is Side.BUY:
        return print_.price < placed.price or (print_.price == placed.price and print_.buyer_is_maker)
    return print_.price > placed.price or (print_.price == placed.price and not print_.buyer_is_maker)


def triggers(last_price: Decimal, order_type: OrderType, side: Side, stop_price: Decimal) -> bool:
    """Whether a last price sets off a contingent order: it went as far against it, or for it, as the stop price."""
    rising = (side is Side.BUY) == order_type.is_stop_loss
    return last_price >= stop_price if rising else last_price <= stop_price


def priority(placed: OrderPlaced) -> tuple[Decimal, int]:
    """Best price first, then the oldest order."""
    return (-placed.price if placed.side is Side.BUY else placed.price, placed.order_id)


def traded(met: list[Meeting]) -> Decimal:
    """How much of the base asset a taker trades."""
    return sum((each.quantity for each in met if each.mode is PreventionMode.NONE), ZERO)


def total(met: list[Meeting]) -> Decimal:
    """How much of the base asset a taker is used up by."""
    return sum((each.quantity for each in met if each.mode is not PreventionMode.EXPIRE_MAKER), ZERO)


def _worse(side: Side, price: Decimal) -> Decimal:
    return price if side is Side.BUY else -price
