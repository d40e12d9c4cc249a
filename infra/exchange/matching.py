"""Rules of matching: what a request must have, which resting orders a trade reaches, and in which order."""

from decimal import Decimal
from typing import NamedTuple

from infra.exchange.book import Take
from infra.exchange.decimals import ZERO
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.ledger import Account
from infra.exchange.recording import Print
from infra.exchange.records import OrderPlaced, OrderType, Side, TimeInForce
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


def check_funds(account: Account, rules: SymbolRules, request: OrderRequest, takes: list[Take]) -> None:
    """Refuse with -2010 an order that the account cannot pay for."""
    if request.side is Side.SELL:
        asset, needed = rules.base, request.quantity or total(takes)
    elif request.type is OrderType.MARKET:
        cost = sum((take.price * take.quantity for take in takes), ZERO)
        asset, needed = rules.quote, request.quote_quantity or cost
    else:
        asset, needed = rules.quote, request.price * request.quantity
    if account.balances[asset].free < needed:
        raise ExchangeError(Refusal.INSUFFICIENT_BALANCE)


def reaches(print_: Print, placed: OrderPlaced) -> bool:
    """Whether a trade of the market reaches a resting order.

    One beyond the limit does, whoever its taker was; one at the limit does if its taker was on the other side.
    """
    if placed.side is Side.BUY:
        return print_.price < placed.price or (print_.price == placed.price and print_.buyer_is_maker)
    return print_.price > placed.price or (print_.price == placed.price and not print_.buyer_is_maker)


def priority(placed: OrderPlaced) -> tuple[Decimal, int]:
    """Best price first, then the oldest order."""
    return (-placed.price if placed.side is Side.BUY else placed.price, placed.order_id)


def total(takes: list[Take]) -> Decimal:
    """How much of the base asset is taken."""
    return sum((take.quantity for take in takes), ZERO)
