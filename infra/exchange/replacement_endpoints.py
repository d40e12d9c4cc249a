"""Endpoints that change several orders: cancel and replace, cancel all of a symbol."""

from collections.abc import Callable
from enum import StrEnum

from infra.exchange.endpoints import Call, Endpoint
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.order_endpoints import cancel, find_order, new_order
from infra.exchange.order_requests import order_request


class _Mode(StrEnum):
    STOP_ON_FAILURE = "STOP_ON_FAILURE"
    ALLOW_FAILURE = "ALLOW_FAILURE"


def _cancel_all(call: Call) -> object:
    orders = [each for each in call.account.open_orders.values() if each.placed.symbol == call.symbol]
    if not orders:
        raise ExchangeError(Refusal.UNKNOWN_ORDER)
    # Cancelling one of a list cancels all of it.
    return [cancel(call, order, "") for order in orders if order.is_open]


def _cancel_replace(call: Call) -> object:
    parameters = call.parameters
    mode = parameters.choice("cancelReplaceMode", _Mode, Refusal.BAD_CANCEL_REPLACE_MODE)
    # Filters are judged before anything is cancelled.
    call.exchange.trading.check(call.account, order_request(call))
    cancelled, cancel_result = _attempt(lambda: _cancel_named(call))
    if cancel_result == "FAILURE" and mode is _Mode.STOP_ON_FAILURE:
        placed, place_result = None, "NOT_ATTEMPTED"
    else:
        placed, place_result = _attempt(lambda: new_order(call))
    outcome = {
        "cancelResult": cancel_result,
        "newOrderResult": place_result,
        "cancelResponse": cancelled,
        "newOrderResponse": placed,
    }
    if cancel_result == place_result == "SUCCESS":
        return outcome
    if "SUCCESS" in {cancel_result, place_result}:
        raise ExchangeError(Refusal.PARTLY_REPLACED, data=outcome)
    raise ExchangeError(Refusal.NOT_REPLACED, data=outcome)


def _cancel_named(call: Call) -> object:
    order = find_order(call, Refusal.UNKNOWN_ORDER, "cancelOrderId", "cancelOrigClientOrderId")
    return cancel(call, order, call.parameters.client_order_id("cancelNewClientOrderId"))


def _attempt(what: Callable[[], object]) -> tuple[object, str]:
    try:
        return what(), "SUCCESS"
    except ExchangeError as error:
        return error.payload, "FAILURE"


REPLACEMENT_ENDPOINTS = (
    Endpoint(_cancel_all, "DELETE", "/api/v3/openOrders", 1, "openOrders.cancelAll", signed=True),
    Endpoint(_cancel_replace, "POST", "/api/v3/order/cancelReplace", 1, "order.cancelReplace", signed=True, orders=1),
)
