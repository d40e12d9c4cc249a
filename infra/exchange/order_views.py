"""Orders, lists and executions as Binance's answers show them."""

from enum import StrEnum

from infra.exchange.decimals import ZERO, wire
from infra.exchange.events import TimeUnit
from infra.exchange.ledger import Account
from infra.exchange.records import Filled, Order, OrderEnded, OrderList, Prevented

View = dict[str, object]


class ResponseType(StrEnum):
    """How much a new order's answer tells."""

    ACK = "ACK"
    RESULT = "RESULT"
    FULL = "FULL"


def new_order_view(account: Account, order: Order, response_type: ResponseType, unit: TimeUnit) -> View:
    """The answer to a new order."""
    placed = order.placed
    answer: View = {
        "symbol": placed.symbol,
        "orderId": placed.order_id,
        "orderListId": placed.order_list_id,
        "clientOrderId": placed.client_order_id,
        "transactTime": unit.stamp(placed.time_us),
    }
    if response_type is ResponseType.ACK:
        return answer
    answer |= _state(order) | {"workingTime": _working_time(order, unit), "selfTradePreventionMode": placed.prevention}
    if response_type is ResponseType.FULL:
        answer["fills"] = [_fill(fill) for fill in account.trades_of_order.get(placed.order_id, [])]
    met = [each for each in account.prevented[placed.symbol] if _taker_id(each) == placed.order_id]
    if met:
        answer["preventedMatches"] = [_met(each) for each in {each.match_id: each for each in met}.values()]
    return answer | _conditional(order) | ({} if account.trade_group == -1 else {"tradeGroupId": account.trade_group})


def order_view(order: Order, unit: TimeUnit) -> View:
    """An order as a query shows it."""
    placed = order.placed
    return {
        "symbol": placed.symbol,
        "orderId": placed.order_id,
        "orderListId": placed.order_list_id,
        "clientOrderId": placed.client_order_id,
        **_state(order),
        "stopPrice": wire(placed.stop_price),
        "icebergQty": wire(ZERO),
        "time": unit.stamp(placed.time_us),
        "updateTime": unit.stamp(order.update_time_us),
        "isWorking": order.is_working,
        "workingTime": _working_time(order, unit),
        "selfTradePreventionMode": placed.prevention,
        **_conditional(order),
    }


def cancel_view(order: Order, ended: OrderEnded, unit: TimeUnit) -> View:
    """The answer to a cancel."""
    return {
        "symbol": order.placed.symbol,
        "origClientOrderId": order.placed.client_order_id,
        "orderId": order.placed.order_id,
        "orderListId": order.placed.order_list_id,
        "clientOrderId": ended.cancel_client_order_id,
        "transactTime": unit.stamp(ended.time_us),
        **_state(order),
        "selfTradePreventionMode": order.placed.prevention,
        **_conditional(order),
    }


def list_view(order_list: OrderList, unit: TimeUnit) -> View:
    """A list of orders."""
    listed = order_list.listed
    return {
        "orderListId": listed.order_list_id,
        "contingencyType": listed.contingency,
        "listStatusType": "EXEC_STARTED" if order_list.is_open else "ALL_DONE",
        "listOrderStatus": "EXECUTING" if order_list.is_open else "ALL_DONE",
        "listClientOrderId": listed.client_order_id,
        "transactionTime": unit.stamp(order_list.update_time_us),
        "symbol": listed.symbol,
        "orders": [
            {"symbol": listed.symbol, "orderId": order_id, "clientOrderId": client_order_id}
            for order_id, client_order_id in zip(listed.order_ids, listed.client_order_ids, strict=True)
        ],
    }


def trade_view(trade: Filled, order: Order, unit: TimeUnit) -> View:
    """A row of `myTrades`."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "orderListId": order.placed.order_list_id,
        **_execution(trade, order, unit),
        "isBestMatch": True,
    }


def allocation_view(allocation: Filled, order: Order, unit: TimeUnit) -> View:
    """A row of `myAllocations`."""
    return {
        "symbol": allocation.symbol,
        "allocationId": allocation.allocation_id,
        "allocationType": "SOR",
        "orderId": allocation.order_id,
        "orderListId": order.placed.order_list_id,
        **_execution(allocation, order, unit),
        "isAllocator": False,
    }


def prevented_view(prevented: Prevented, unit: TimeUnit) -> View:
    """A row of `myPreventedMatches`."""
    return {
        "symbol": prevented.symbol,
        "preventedMatchId": prevented.match_id,
        "takerOrderId": _taker_id(prevented),
        "makerSymbol": prevented.symbol,
        "makerOrderId": prevented.order_id if prevented.is_maker else prevented.counter_order_id,
        "tradeGroupId": prevented.trade_group,
        "selfTradePreventionMode": prevented.mode,
        "price": wire(prevented.price),
        **_prevented_quantities(prevented),
        "transactTime": unit.stamp(prevented.time_us),
    }


def _met(prevented: Prevented) -> View:
    return {
        "preventedMatchId": prevented.match_id,
        "makerSymbol": prevented.symbol,
        "makerOrderId": prevented.order_id if prevented.is_maker else prevented.counter_order_id,
        "price": wire(prevented.price),
        **_prevented_quantities(prevented),
    }


def _taker_id(prevented: Prevented) -> int:
    return prevented.counter_order_id if prevented.is_maker else prevented.order_id


def _prevented_quantities(prevented: Prevented) -> View:
    quantities = {
        "takerPreventedQuantity": prevented.taker_expired,
        "makerPreventedQuantity": prevented.maker_expired,
    }
    return {name: wire(quantity) for name, quantity in quantities.items() if quantity}


def _execution(fill: Filled, order: Order, unit: TimeUnit) -> View:
    return {
        "price": wire(fill.price),
        "qty": wire(fill.quantity),
        "quoteQty": wire(fill.quote_quantity),
        "commission": wire(fill.commission),
        "commissionAsset": fill.commission_asset,
        "time": unit.stamp(fill.time_us),
        "isBuyer": order.placed.side == "BUY",
        "isMaker": fill.is_maker,
    }


def _fill(fill: Filled) -> View:
    allocated = {} if fill.allocation_id is None else {"matchType": "ONE_PARTY_TRADE_REPORT"}
    numbered = {} if fill.allocation_id is None else {"allocId": fill.allocation_id}
    return {
        **allocated,
        "price": wire(fill.price),
        "qty": wire(fill.quantity),
        "commission": wire(fill.commission),
        "commissionAsset": fill.commission_asset,
        "tradeId": fill.trade_id,
        **numbered,
    }


def _working_time(order: Order, unit: TimeUnit) -> int:
    return -1 if order.working_time_us is None else unit.stamp(order.working_time_us)


def _state(order: Order) -> View:
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


def _conditional(order: Order) -> View:
    placed = order.placed
    optional = {
        "stopPrice": wire(placed.stop_price) if placed.type.is_contingent else None,
        "strategyId": placed.strategy_id,
        "strategyType": placed.strategy_type,
        "preventedMatchId": order.prevented_match_id,
        "preventedQuantity": wire(order.prevented) if order.prevented else None,
        "workingFloor": "SOR" if placed.uses_sor else None,
        "usedSor": placed.uses_sor or None,
        "expiryReason": order.reason or None,
    }
    return {name: value for name, value in optional.items() if value is not None}
