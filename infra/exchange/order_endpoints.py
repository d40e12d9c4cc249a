"""Endpoints that place, find and cancel single orders. Shapes and weights as in Binance's `rest-api.md`."""

from infra.exchange.decimals import ZERO, wire
from infra.exchange.endpoints import Call, Endpoint
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.fees import FeeSchedule
from infra.exchange.order_requests import order_request
from infra.exchange.order_views import ResponseType, cancel_view, list_view, new_order_view, order_view
from infra.exchange.parameters import Parameters
from infra.exchange.records import Order, OrderType

_TELLS_ALL = {OrderType.LIMIT, OrderType.MARKET}


def new_order(call: Call, *, uses_sor: bool = False) -> object:
    """Place an order and tell of it, as fully as `newOrderRespType` asks."""
    request = order_request(call, uses_sor=uses_sor)
    response_type = response_type_of(call, ResponseType.FULL if request.type in _TELLS_ALL else ResponseType.ACK)
    order = call.exchange.trading.place(call.account, request)
    return new_order_view(call.account, order, response_type, call.unit)


def response_type_of(call: Call, default: ResponseType) -> ResponseType:
    """How much the answer to a new order is to tell."""
    text = call.parameters.text("newOrderRespType") or default
    if text not in set(ResponseType):
        raise ExchangeError(Refusal.BAD_PARAMETER, "newOrderRespType")
    return ResponseType(text)


def _new_routed_order(call: Call) -> object:
    return new_order(call, uses_sor=True)


def _test_order(call: Call) -> object:
    return _tested(call, uses_sor=False)


def _test_routed_order(call: Call) -> object:
    return _tested(call, uses_sor=True)


def _tested(call: Call, *, uses_sor: bool) -> object:
    call.exchange.trading.check(call.account, order_request(call, uses_sor=uses_sor))
    if not call.parameters.boolean("computeCommissionRates", default=False):
        return {}
    fees, none = call.exchange.fees, {"maker": wire(ZERO), "taker": wire(ZERO)}
    return {
        "standardCommissionForOrder": commission_rates(fees),
        "specialCommissionForOrder": none,
        "taxCommissionForOrder": none,
        "discount": {
            "enabledForAccount": fees.pay_in_bnb,
            "enabledForSymbol": True,
            "discountAsset": "BNB",
            "discount": wire(fees.discount),
        },
    }


def commission_rates(fees: FeeSchedule) -> dict[str, str]:
    """The rates of commission."""
    return {"maker": wire(fees.maker), "taker": wire(fees.taker)}


def find_order(call: Call, missing: Refusal, id_name: str = "orderId", client_name: str = "origClientOrderId") -> Order:
    """The order that a request names by its id or client order id; refused with `missing` when there is none."""
    symbol = call.symbol
    order_id = call.parameters.integer(id_name)
    client_order_id = call.parameters.client_order_id(client_name)
    if order_id is None and not client_order_id:
        raise ExchangeError(Refusal.MISSING_EITHER, client_name, id_name)
    found = _orders(call, symbol) if order_id is None else [call.account.orders.get(order_id)]
    for order in reversed(found):
        if order and order.placed.symbol == symbol and client_order_id in {"", order.placed.client_order_id}:
            return order
    raise ExchangeError(missing)


def _orders(call: Call, symbol: str) -> list[Order]:
    return [order for order in call.account.orders.values() if order.placed.symbol == symbol]


def _query_order(call: Call) -> object:
    return order_view(find_order(call, Refusal.NO_SUCH_ORDER), call.unit)


def _cancel_order(call: Call) -> object:
    order = find_order(call, Refusal.UNKNOWN_ORDER)
    return cancel(call, order, call.parameters.client_order_id("newClientOrderId"))


def cancel(call: Call, order: Order, client_order_id: str) -> dict[str, object]:
    """Cancel an order, as `cancelRestrictions` allow, and tell of it; with it goes the list that it belongs to."""
    if not order.is_open:
        raise ExchangeError(Refusal.UNKNOWN_ORDER)
    restriction = call.parameters.text("cancelRestrictions")
    if restriction not in {None, "ONLY_NEW", "ONLY_PARTIALLY_FILLED"}:
        raise ExchangeError(Refusal.BAD_CANCEL_RESTRICTIONS)
    if restriction and restriction != f"ONLY_{order.status}":
        raise ExchangeError(Refusal.CANCEL_RESTRICTED)
    account = call.account
    ended = call.exchange.trading.cancel(account, order, client_order_id)
    reports = [cancel_view(account.orders[each.order_id], each, call.unit) for each in ended]
    order_list = account.order_lists.get(order.placed.order_list_id)
    return reports[0] if order_list is None else list_view(order_list, call.unit) | {"orderReports": reports}


def _open_orders(call: Call) -> object:
    wanted = call.symbol if "symbol" in call.parameters else None
    return [
        order_view(order, call.unit)
        for order in call.account.open_orders.values()
        if wanted in {None, order.placed.symbol}
    ]


def _all_orders(call: Call) -> object:
    parameters = call.parameters
    orders = _orders(call, call.symbol)
    limit = parameters.limit()
    first_id = parameters.integer("orderId")
    start_us, end_us = parameters.day_us()
    if first_id is not None:
        orders = [order for order in orders if order.placed.order_id >= first_id][:limit]
    elif start_us is not None:
        orders = [each for each in orders if start_us <= each.placed.time_us <= (end_us or each.placed.time_us)][:limit]
    else:
        orders = [each for each in orders if end_us is None or each.placed.time_us <= end_us][-limit:]
    return [order_view(order, call.unit) for order in orders]


def _weight_of_test(parameters: Parameters) -> int:
    return 20 if parameters.boolean("computeCommissionRates", default=False) else 1


ORDER_ENDPOINTS = (
    Endpoint(new_order, "POST", "/api/v3/order", 1, "order.place", signed=True, orders=1),
    Endpoint(_query_order, "GET", "/api/v3/order", 4, "order.status", signed=True),
    Endpoint(_cancel_order, "DELETE", "/api/v3/order", 1, "order.cancel", signed=True),
    Endpoint(_test_order, "POST", "/api/v3/order/test", _weight_of_test, "order.test", signed=True),
    Endpoint(_new_routed_order, "POST", "/api/v3/sor/order", 1, "sor.order.place", signed=True, orders=1),
    Endpoint(_test_routed_order, "POST", "/api/v3/sor/order/test", _weight_of_test, "sor.order.test", signed=True),
    Endpoint(
        _open_orders,
        "GET",
        "/api/v3/openOrders",
        lambda parameters: 6 if "symbol" in parameters else 80,
        "openOrders.status",
        signed=True,
    ),
    Endpoint(_all_orders, "GET", "/api/v3/allOrders", 20, "allOrders", signed=True),
)
