"""Signed endpoints: account, orders, trades. Shapes and weights as in Binance's `rest-api.md`."""

import hashlib
from decimal import Decimal
from enum import StrEnum

from infra.exchange.decimals import ZERO, wire
from infra.exchange.endpoints import Call, Endpoint
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.events import TimeUnit
from infra.exchange.fees import FeeSchedule
from infra.exchange.matching import OrderRequest
from infra.exchange.parameters import Parameters
from infra.exchange.records import Filled, Order, OrderType, Side, TimeInForce

_DAY_US = 86_400_000_000
# Order types that Binance has and this exchange lists for no symbol.
_STOP_ORDERS = {"STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"}
_UNSUPPORTED = {
    "stopPrice": Refusal.NO_STOP_ORDERS,
    "icebergQty": Refusal.NO_ICEBERG_ORDERS,
    "trailingDelta": Refusal.NO_TRAILING_ORDERS,
    "pegPriceType": Refusal.NO_PEGGED_ORDERS,
}


class _ResponseType(StrEnum):
    ACK = "ACK"
    RESULT = "RESULT"
    FULL = "FULL"


def _account(call: Call) -> object:
    account, fees = call.account, call.exchange.fees
    omit_zero = call.parameters.boolean("omitZeroBalances", default=False)
    return {
        "makerCommission": int(fees.maker * 10_000),
        "takerCommission": int(fees.taker * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": _rates(fees) | {"buyer": wire(ZERO), "seller": wire(ZERO)},
        "canTrade": True,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": call.unit.stamp(account.update_time_us),
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": wire(balance.free), "locked": wire(balance.locked)}
            for asset, balance in account.balances.items()
            if not omit_zero or balance.free or balance.locked
        ],
        "permissions": ["SPOT"],
        "uid": int.from_bytes(hashlib.blake2b(account.name.encode(), digest_size=4).digest(), "big"),
    }


def _rates(fees: FeeSchedule) -> dict[str, str]:
    return {"maker": wire(fees.maker), "taker": wire(fees.taker)}


# -- orders


def new_order(call: Call) -> object:
    """Place an order and tell of it, as fully as `newOrderRespType` asks."""
    request = order_request(call)
    default = _ResponseType.ACK if request.type is OrderType.LIMIT_MAKER else _ResponseType.FULL
    text = call.parameters.text("newOrderRespType") or default
    if text not in set(_ResponseType):
        raise ExchangeError(Refusal.BAD_PARAMETER, "newOrderRespType")
    order = call.exchange.place(call.account, request)
    return _order_response(call, order, _ResponseType(text))


def _test_order(call: Call) -> object:
    call.exchange.check(call.account, order_request(call))
    if not call.parameters.boolean("computeCommissionRates", default=False):
        return {}
    fees, none = call.exchange.fees, {"maker": wire(ZERO), "taker": wire(ZERO)}
    return {
        "standardCommissionForOrder": _rates(fees),
        "specialCommissionForOrder": none,
        "taxCommissionForOrder": none,
        "discount": {
            "enabledForAccount": fees.pay_in_bnb,
            "enabledForSymbol": True,
            "discountAsset": "BNB",
            "discount": wire(fees.discount),
        },
    }


def order_request(call: Call) -> OrderRequest:
    """Read an order from the parameters of a request."""
    parameters = call.parameters
    symbol = call.symbol
    side = parameters.choice("side", Side, Refusal.BAD_SIDE)
    if parameters.required("type") in _STOP_ORDERS:
        raise ExchangeError(Refusal.NO_STOP_ORDERS)
    order_type = parameters.choice("type", OrderType, Refusal.BAD_ORDER_TYPE)
    for name, refusal in _UNSUPPORTED.items():
        if name in parameters:
            raise ExchangeError(refusal)
    return OrderRequest(
        symbol=symbol,
        side=side,
        type=order_type,
        time_in_force=_time_in_force(parameters, order_type),
        quantity=_quantity(parameters, order_type),
        quote_quantity=_quote_quantity(parameters, order_type),
        price=_price(parameters, order_type),
        client_order_id=parameters.client_order_id("newClientOrderId"),
        strategy_id=parameters.integer("strategyId"),
        strategy_type=parameters.integer("strategyType"),
    )


def _time_in_force(parameters: Parameters, order_type: OrderType) -> TimeInForce:
    if order_type is OrderType.LIMIT:
        return parameters.choice("timeInForce", TimeInForce, Refusal.BAD_TIME_IN_FORCE)
    if "timeInForce" in parameters:
        raise ExchangeError(Refusal.NOT_REQUIRED, "timeInForce")
    return TimeInForce.GTC


def _price(parameters: Parameters, order_type: OrderType) -> Decimal:
    if order_type is not OrderType.MARKET:
        parameters.required("price")
    elif "price" in parameters:
        raise ExchangeError(Refusal.NOT_REQUIRED, "price")
    return parameters.decimal("price")


def _quantity(parameters: Parameters, order_type: OrderType) -> Decimal:
    if order_type is not OrderType.MARKET:
        parameters.required("quantity")
    elif "quantity" not in parameters and "quoteOrderQty" not in parameters:
        raise ExchangeError(Refusal.MISSING_EITHER, "quantity", "quoteOrderQty")
    quantity = parameters.decimal("quantity")
    if "quantity" in parameters and not quantity:
        raise ExchangeError(Refusal.FILTER, "LOT_SIZE")
    return quantity


def _quote_quantity(parameters: Parameters, order_type: OrderType) -> Decimal:
    if "quoteOrderQty" in parameters:
        if order_type is not OrderType.MARKET:
            raise ExchangeError(Refusal.NOT_REQUIRED, "quoteOrderQty")
        if "quantity" in parameters:
            raise ExchangeError(Refusal.BAD_COMBINATION)
        quantity = parameters.decimal("quoteOrderQty")
        if not quantity:
            raise ExchangeError(Refusal.FILTER, "NOTIONAL")
        return quantity
    return ZERO


def _order_response(call: Call, order: Order, response_type: _ResponseType) -> dict[str, object]:
    placed, stamp = order.placed, call.unit.stamp
    answer: dict[str, object] = {
        "symbol": placed.symbol,
        "orderId": placed.order_id,
        "orderListId": -1,
        "clientOrderId": placed.client_order_id,
        "transactTime": stamp(placed.time_us),
    }
    if response_type is _ResponseType.ACK:
        return answer
    answer |= _order_state(order) | {"workingTime": stamp(placed.time_us), "selfTradePreventionMode": "NONE"}
    if response_type is _ResponseType.FULL:
        answer["fills"] = [
            {
                "price": wire(fill.price),
                "qty": wire(fill.quantity),
                "commission": wire(fill.commission),
                "commissionAsset": fill.commission_asset,
                "tradeId": fill.trade_id,
            }
            for fill in call.account.trades_of_order.get(placed.order_id, [])
        ]
    return answer | _conditional(order)


def _order_state(order: Order) -> dict[str, object]:
    placed = order.placed
    return {
        "price": wire(placed.price),
        "origQty": wire(placed.quantity),
        "executedQty": wire(order.executed),
        "origQuoteOrderQty": wire(placed.quote_order_quantity),
        "cummulativeQuoteQty": wire(order.executed_quote),
        "status": order.status,
        "timeInForce": placed.time_in_force,
        "type": placed.type,
        "side": placed.side,
    }


def _conditional(order: Order) -> dict[str, object]:
    optional = {
        "strategyId": order.placed.strategy_id,
        "strategyType": order.placed.strategy_type,
        "expiryReason": order.reason or None,
    }
    return {name: value for name, value in optional.items() if value is not None}


def _order_view(order: Order, unit: TimeUnit) -> dict[str, object]:
    placed = order.placed
    return {
        "symbol": placed.symbol,
        "orderId": placed.order_id,
        "orderListId": -1,
        "clientOrderId": placed.client_order_id,
        **_order_state(order),
        "stopPrice": wire(ZERO),
        "icebergQty": wire(ZERO),
        "time": unit.stamp(placed.time_us),
        "updateTime": unit.stamp(order.update_time_us),
        "isWorking": True,
        "workingTime": unit.stamp(placed.time_us),
        "selfTradePreventionMode": "NONE",
        **_conditional(order),
    }


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
    return _order_view(find_order(call, Refusal.NO_SUCH_ORDER), call.unit)


def _cancel_order(call: Call) -> object:
    order = find_order(call, Refusal.UNKNOWN_ORDER)
    return cancel(call, order, call.parameters.client_order_id("newClientOrderId"))


def cancel(call: Call, order: Order, client_order_id: str) -> dict[str, object]:
    """Cancel an order, as `cancelRestrictions` allow, and tell of it."""
    if not order.is_open:
        raise ExchangeError(Refusal.UNKNOWN_ORDER)
    restriction = call.parameters.text("cancelRestrictions")
    if restriction not in {None, "ONLY_NEW", "ONLY_PARTIALLY_FILLED"}:
        raise ExchangeError(Refusal.BAD_CANCEL_RESTRICTIONS)
    if restriction and restriction != f"ONLY_{order.status}":
        raise ExchangeError(Refusal.CANCEL_RESTRICTED)
    ended = call.exchange.cancel(call.account, order, client_order_id)
    return {
        "symbol": order.placed.symbol,
        "origClientOrderId": order.placed.client_order_id,
        "orderId": order.placed.order_id,
        "orderListId": -1,
        "clientOrderId": ended.cancel_client_order_id,
        "transactTime": call.unit.stamp(ended.time_us),
        **_order_state(order),
        "selfTradePreventionMode": "NONE",
    }


def _open_orders(call: Call) -> object:
    wanted = call.symbol if "symbol" in call.parameters else None
    return [
        _order_view(order, call.unit)
        for order in call.account.open_orders.values()
        if wanted in {None, order.placed.symbol}
    ]


def _all_orders(call: Call) -> object:
    parameters = call.parameters
    orders = _orders(call, call.symbol)
    limit = parameters.limit()
    first_id = parameters.integer("orderId")
    start_us, end_us = _period(parameters)
    if first_id is not None:
        orders = [order for order in orders if order.placed.order_id >= first_id][:limit]
    elif start_us is not None:
        orders = [each for each in orders if start_us <= each.placed.time_us <= (end_us or each.placed.time_us)][:limit]
    else:
        orders = [each for each in orders if end_us is None or each.placed.time_us <= end_us][-limit:]
    return [_order_view(order, call.unit) for order in orders]


def _period(parameters: Parameters) -> tuple[int | None, int | None]:
    start_us, end_us = parameters.time_us("startTime"), parameters.time_us("endTime")
    if end_us is not None and end_us % 1000 == 0:
        # A whole millisecond means all of it: trades have microseconds that its sender does not see.
        end_us += 999
    if start_us is not None and end_us is not None and end_us - start_us > _DAY_US + 999:
        raise ExchangeError(Refusal.LOOKUP_TOO_LONG)
    return start_us, end_us


# -- trades


def _my_trades(call: Call) -> object:
    parameters, account = call.parameters, call.account
    symbol, limit = call.symbol, parameters.limit()
    from_id, order_id = parameters.integer("fromId"), parameters.integer("orderId")
    start_us, end_us = _period(parameters)
    timed = start_us is not None or end_us is not None
    if timed and (from_id is not None or order_id is not None):
        raise ExchangeError(Refusal.BAD_COMBINATION)
    trades = account.trades[symbol] if from_id is None else account.trades_from(symbol, from_id)
    if order_id is not None:
        trades = [each for each in trades if each.order_id == order_id]
    if timed:
        first_us, last_us = start_us or 0, end_us if end_us is not None else call.exchange.now_us()
        trades = [each for each in trades if first_us <= each.time_us <= last_us]
    oldest_first = from_id is not None or start_us is not None
    rows = trades[:limit] if oldest_first else trades[-limit:]
    return [_trade_view(each, account.orders[each.order_id], call.unit) for each in rows]


def _trade_view(trade: Filled, order: Order, unit: TimeUnit) -> dict[str, object]:
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "orderListId": -1,
        "price": wire(trade.price),
        "qty": wire(trade.quantity),
        "quoteQty": wire(trade.quote_quantity),
        "commission": wire(trade.commission),
        "commissionAsset": trade.commission_asset,
        "time": unit.stamp(trade.time_us),
        "isBuyer": order.placed.side is Side.BUY,
        "isMaker": trade.is_maker,
        "isBestMatch": True,
    }


ACCOUNT_ENDPOINTS = (
    Endpoint(_account, "GET", "/api/v3/account", 20, "account.status", signed=True),
    Endpoint(new_order, "POST", "/api/v3/order", 1, "order.place", signed=True),
    Endpoint(_query_order, "GET", "/api/v3/order", 4, "order.status", signed=True),
    Endpoint(_cancel_order, "DELETE", "/api/v3/order", 1, "order.cancel", signed=True),
    Endpoint(
        _test_order,
        "POST",
        "/api/v3/order/test",
        lambda parameters: 20 if parameters.boolean("computeCommissionRates", default=False) else 1,
        "order.test",
        signed=True,
    ),
    Endpoint(
        _open_orders,
        "GET",
        "/api/v3/openOrders",
        lambda parameters: 6 if "symbol" in parameters else 80,
        "openOrders.status",
        signed=True,
    ),
    Endpoint(_all_orders, "GET", "/api/v3/allOrders", 20, "allOrders", signed=True),
    Endpoint(
        _my_trades,
        "GET",
        "/api/v3/myTrades",
        lambda parameters: 5 if "orderId" in parameters else 20,
        "myTrades",
        signed=True,
    ),
)
