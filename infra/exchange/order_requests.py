"""Reading orders from the parameters of a request: what each type must have, and may not have."""

from decimal import Decimal

from infra.exchange.decimals import ZERO
from infra.exchange.endpoints import Call
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.matching import OrderRequest
from infra.exchange.parameters import Parameters
from infra.exchange.records import Contingency, OrderType, PreventionMode, Side, TimeInForce
from infra.exchange.trading import ListRequest

_UNSUPPORTED = {
    "icebergQty": Refusal.NO_ICEBERG_ORDERS,
    "trailingDelta": Refusal.NO_TRAILING_ORDERS,
    "pegPriceType": Refusal.NO_PEGGED_ORDERS,
}
_TIMED = {OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT}
_ROUTED = {OrderType.LIMIT, OrderType.MARKET}
_ABOVE, _BELOW, _WORKING, _PENDING = "above", "below", "working", "pending"


class _Reader:
    """The parameters of one order, whose names may begin with its part in a list."""

    def __init__(self, parameters: Parameters, part: str = "") -> None:
        self.parameters = parameters
        self._part = part

    def name(self, plain: str) -> str:
        """`price`, or `abovePrice`."""
        return plain if not self._part else self._part + plain[0].upper() + plain[1:]

    def client_order_id(self) -> str:
        return self.parameters.client_order_id(self.name("clientOrderId") if self._part else "newClientOrderId")

    def type(self) -> OrderType:
        return self.parameters.choice(self.name("type"), OrderType, Refusal.BAD_ORDER_TYPE)

    def time_in_force(self, order_type: OrderType) -> TimeInForce:
        name = self.name("timeInForce")
        if order_type in _TIMED:
            return self.parameters.choice(name, TimeInForce, Refusal.BAD_TIME_IN_FORCE)
        if name in self.parameters:
            raise ExchangeError(Refusal.NOT_REQUIRED, name)
        return TimeInForce.GTC

    def price(self, plain: str, *, is_needed: bool) -> Decimal:
        name = self.name(plain)
        if is_needed:
            self.parameters.required(name)
        elif name in self.parameters:
            raise ExchangeError(Refusal.NOT_REQUIRED, name)
        return self.parameters.decimal(name)

    def refuse_unsupported(self) -> None:
        for plain, refusal in _UNSUPPORTED.items():
            if self.name(plain) in self.parameters:
                raise ExchangeError(refusal)


def order_request(call: Call, *, uses_sor: bool = False) -> OrderRequest:
    """Read an order."""
    parameters, symbol = call.parameters, call.symbol
    reader = _Reader(parameters)
    side = parameters.choice("side", Side, Refusal.BAD_SIDE)
    order_type = reader.type()
    reader.refuse_unsupported()
    if uses_sor and (order_type not in _ROUTED or "quoteOrderQty" in parameters):
        raise ExchangeError(Refusal.BAD_ORDER_TYPE)
    return OrderRequest(
        symbol=symbol,
        side=side,
        type=order_type,
        time_in_force=reader.time_in_force(order_type),
        quantity=_quantity(parameters, order_type),
        quote_quantity=_quote_quantity(parameters, order_type),
        price=reader.price("price", is_needed=order_type.has_limit),
        client_order_id=reader.client_order_id(),
        strategy_id=parameters.integer("strategyId"),
        strategy_type=parameters.integer("strategyType"),
        stop_price=reader.price("stopPrice", is_needed=order_type.is_contingent),
        prevention=_prevention(call),
        uses_sor=uses_sor,
    )


def oco_request(call: Call) -> ListRequest:
    """Read a pair of orders of which one ends the other."""
    side = call.parameters.choice("side", Side, Refusal.BAD_SIDE)
    quantity = _positive(call.parameters, "quantity")
    pair = _pair(call, side, quantity, _ABOVE, _BELOW)
    return ListRequest(Contingency.OCO, pair, call.parameters.client_order_id("listClientOrderId"))


def oto_request(call: Call) -> ListRequest:
    """Read a working order, and one that is put to the book when it is filled."""
    side = call.parameters.choice("pendingSide", Side, Refusal.BAD_SIDE)
    quantity = _positive(call.parameters, "pendingQuantity")
    orders = (_working(call), _part(call, _PENDING, side, quantity))
    return ListRequest(Contingency.OTO, orders, call.parameters.client_order_id("listClientOrderId"))


def otoco_request(call: Call) -> ListRequest:
    """Read a working order, and a pair that is put to the book when it is filled."""
    side = call.parameters.choice("pendingSide", Side, Refusal.BAD_SIDE)
    quantity = _positive(call.parameters, "pendingQuantity")
    pair = _pair(call, side, quantity, "pendingAbove", "pendingBelow")
    return ListRequest(Contingency.OTO, (_working(call), *pair), call.parameters.client_order_id("listClientOrderId"))


def _working(call: Call) -> OrderRequest:
    side = call.parameters.choice("workingSide", Side, Refusal.BAD_SIDE)
    order = _part(call, _WORKING, side, _positive(call.parameters, "workingQuantity"))
    if order.type not in {OrderType.LIMIT, OrderType.LIMIT_MAKER}:
        raise ExchangeError(Refusal.BAD_ORDER_TYPE)
    return order


def _pair(call: Call, side: Side, quantity: Decimal, above: str, below: str) -> tuple[OrderRequest, ...]:
    upper, lower = (_part(call, part, side, quantity) for part in (above, below))
    if not (upper.type.is_contingent or lower.type.is_contingent):
        raise ExchangeError(Refusal.NONE_IS_CONTINGENT)
    profit, loss = (lower, upper) if side is Side.BUY else (upper, lower)
    if loss.type is OrderType.LIMIT_MAKER:
        raise ExchangeError(Refusal.LIMIT_MUST_BE_BELOW if side is Side.BUY else Refusal.LIMIT_MUST_BE_ABOVE)
    takes_profit = profit.type in {OrderType.LIMIT_MAKER, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}
    if not takes_profit or not loss.type.is_stop_loss:
        raise ExchangeError(Refusal.BAD_LIST_ORDER_TYPE)
    if (profit.stop_price or profit.price) >= loss.stop_price and side is Side.BUY:
        raise ExchangeError(Refusal.BAD_LIST_PRICES)
    if (profit.stop_price or profit.price) <= loss.stop_price and side is Side.SELL:
        raise ExchangeError(Refusal.BAD_LIST_PRICES)
    return upper, lower


def _part(call: Call, part: str, side: Side, quantity: Decimal) -> OrderRequest:
    reader = _Reader(call.parameters, part)
    order_type = reader.type()
    reader.refuse_unsupported()
    return OrderRequest(
        symbol=call.symbol,
        side=side,
        type=order_type,
        time_in_force=_time_in_force_of_part(reader, order_type),
        quantity=quantity,
        price=reader.price("price", is_needed=order_type.has_limit),
        client_order_id=reader.client_order_id(),
        strategy_id=call.parameters.integer(reader.name("strategyId")),
        strategy_type=call.parameters.integer(reader.name("strategyType")),
        stop_price=reader.price("stopPrice", is_needed=order_type.is_contingent),
        prevention=_prevention(call),
    )


def _time_in_force_of_part(reader: _Reader, order_type: OrderType) -> TimeInForce:
    # python-binance sends a time in force with a LIMIT_MAKER too, and Binance lets it pass when it is GTC.
    name = reader.name("timeInForce")
    if order_type not in _TIMED and reader.parameters.text(name) == TimeInForce.GTC:
        return TimeInForce.GTC
    return reader.time_in_force(order_type)


def _prevention(call: Call) -> PreventionMode:
    if "selfTradePreventionMode" in call.parameters:
        return call.parameters.choice("selfTradePreventionMode", PreventionMode, Refusal.BAD_PREVENTION_MODE)
    return call.exchange.listing[call.symbol].default_prevention


def _positive(parameters: Parameters, name: str) -> Decimal:
    parameters.required(name)
    quantity = parameters.decimal(name)
    if not quantity:
        raise ExchangeError(Refusal.FILTER, "LOT_SIZE")
    return quantity


def _quantity(parameters: Parameters, order_type: OrderType) -> Decimal:
    if order_type is OrderType.MARKET and "quantity" not in parameters:
        if "quoteOrderQty" not in parameters:
            raise ExchangeError(Refusal.MISSING_EITHER, "quantity", "quoteOrderQty")
        return ZERO
    return _positive(parameters, "quantity")


def _quote_quantity(parameters: Parameters, order_type: OrderType) -> Decimal:
    if "quoteOrderQty" not in parameters:
        return ZERO
    if order_type is not OrderType.MARKET:
        raise ExchangeError(Refusal.NOT_REQUIRED, "quoteOrderQty")
    if "quantity" in parameters:
        raise ExchangeError(Refusal.BAD_COMBINATION)
    quantity = parameters.decimal("quoteOrderQty")
    if not quantity:
        raise ExchangeError(Refusal.FILTER, "NOTIONAL")
    return quantity
