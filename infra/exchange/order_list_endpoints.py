"""Endpoints for orders that depend on each other. Shapes and weights as in Binance's `rest-api.md`."""

from collections.abc import Callable

from infra.exchange.endpoints import Call, Endpoint
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.order_endpoints import cancel, response_type_of
from infra.exchange.order_requests import oco_request, oto_request, otoco_request
from infra.exchange.order_views import ResponseType, list_view, new_order_view
from infra.exchange.records import OrderList
from infra.exchange.trading import ListRequest


def _placing(read: Callable[[Call], ListRequest]) -> Callable[[Call], object]:
    def place(call: Call) -> object:
        request, response_type = read(call), response_type_of(call, ResponseType.RESULT)
        order_list = call.exchange.trading.place_list(call.account, request)
        orders = call.account.orders_of_list(order_list.listed.order_list_id)
        reports = [new_order_view(call.account, order, response_type, call.unit) for order in orders]
        return list_view(order_list, call.unit) | {"orderReports": reports}

    return place


def _find(call: Call, client_name: str, missing: Refusal) -> OrderList:
    order_list_id = call.parameters.integer("orderListId")
    client_order_id = call.parameters.client_order_id(client_name)
    if order_list_id is None and not client_order_id:
        raise ExchangeError(Refusal.MISSING_EITHER, "orderListId", client_name)
    lists = call.account.order_lists
    found = list(lists.values()) if order_list_id is None else [lists.get(order_list_id)]
    for order_list in reversed(found):
        if order_list and client_order_id in {"", order_list.listed.client_order_id}:
            return order_list
    raise ExchangeError(missing)


def _query(call: Call) -> object:
    return list_view(_find(call, "origClientOrderId", Refusal.NO_SUCH_LIST), call.unit)


def _cancel(call: Call) -> object:
    order_list = _find(call, "listClientOrderId", Refusal.UNKNOWN_LIST)
    orders = call.account.orders_of_list(order_list.listed.order_list_id)
    still_open = [order for order in orders if order.is_open]
    if call.symbol != order_list.listed.symbol or not still_open:
        raise ExchangeError(Refusal.UNKNOWN_LIST)
    return cancel(call, still_open[0], call.parameters.client_order_id("newClientOrderId"))


def _open(call: Call) -> object:
    return [list_view(each, call.unit) for each in call.account.order_lists.values() if each.is_open]


def _all(call: Call) -> object:
    parameters, first_id = call.parameters, call.parameters.integer("fromId")
    start_us, end_us = parameters.day_us()
    if first_id is not None and (start_us is not None or end_us is not None):
        raise ExchangeError(Refusal.BAD_COMBINATION)
    lists = [
        each
        for each in call.account.order_lists.values()
        if (start_us is None or each.listed.time_us >= start_us) and (end_us is None or each.listed.time_us <= end_us)
    ]
    limit = parameters.limit()
    if first_id is not None:
        lists = [each for each in lists if each.listed.order_list_id >= first_id][:limit]
    elif start_us is not None:
        lists = lists[:limit]
    return [list_view(each, call.unit) for each in reversed(lists[-limit:])]


ORDER_LIST_ENDPOINTS = (
    Endpoint(_placing(oco_request), "POST", "/api/v3/orderList/oco", 1, "orderList.place.oco", signed=True, orders=2),
    Endpoint(_placing(oto_request), "POST", "/api/v3/orderList/oto", 1, "orderList.place.oto", signed=True, orders=2),
    Endpoint(
        _placing(otoco_request), "POST", "/api/v3/orderList/otoco", 1, "orderList.place.otoco", signed=True, orders=3
    ),
    Endpoint(_cancel, "DELETE", "/api/v3/orderList", 1, "orderList.cancel", signed=True),
    Endpoint(_query, "GET", "/api/v3/orderList", 4, "orderList.status", signed=True),
    Endpoint(_open, "GET", "/api/v3/openOrderList", 6, "openOrderLists.status", signed=True),
    Endpoint(_all, "GET", "/api/v3/allOrderList", 20, "allOrderLists", signed=True),
)
