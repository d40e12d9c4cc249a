"""Endpoints that tell what an account is and did. Shapes and weights as in Binance's `rest-api.md`."""

import hashlib

from infra.exchange.decimals import ZERO, wire
from infra.exchange.endpoints import Call, Endpoint
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.order_endpoints import commission_rates
from infra.exchange.order_views import allocation_view, prevented_view, trade_view
from infra.exchange.parameters import Parameters
from infra.exchange.records import Filled


def _account(call: Call) -> object:
    account, fees = call.account, call.exchange.fees
    omit_zero = call.parameters.boolean("omitZeroBalances", default=False)
    grouped = {} if account.trade_group == -1 else {"tradeGroupId": account.trade_group}
    return {
        "makerCommission": int(fees.maker * 10_000),
        "takerCommission": int(fees.taker * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": commission_rates(fees) | {"buyer": wire(ZERO), "seller": wire(ZERO)},
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
        **grouped,
    }


def _my_trades(call: Call) -> object:
    account, from_id = call.account, call.parameters.integer("fromId")
    if from_id is not None and _is_timed(call.parameters):
        raise ExchangeError(Refusal.BAD_COMBINATION)
    trades = account.trades[call.symbol] if from_id is None else account.trades_from(call.symbol, from_id)
    rows = _selected(call, trades, oldest_first=from_id is not None or "startTime" in call.parameters)
    return [trade_view(each, account.orders[each.order_id], call.unit) for each in rows]


def _my_allocations(call: Call) -> object:
    account, from_id = call.account, call.parameters.integer("fromAllocationId")
    if from_id is not None and _is_timed(call.parameters):
        raise ExchangeError(Refusal.BAD_COMBINATION)
    found = [each for each in account.allocations[call.symbol] if (each.allocation_id or 0) >= (from_id or 0)]
    newest_first = "endTime" in call.parameters and "startTime" not in call.parameters
    rows = _selected(call, found, oldest_first=not newest_first)
    return [allocation_view(each, account.orders[each.order_id], call.unit) for each in rows]


def _is_timed(parameters: Parameters) -> bool:
    return "startTime" in parameters or "endTime" in parameters


def _selected(call: Call, executions: list[Filled], *, oldest_first: bool) -> list[Filled]:
    """Those of an order, or of a time; as many of the oldest, or of the newest, as are wanted."""
    parameters, order_id = call.parameters, call.parameters.integer("orderId")
    start_us, end_us = parameters.day_us()
    if order_id is not None:
        if _is_timed(parameters):
            raise ExchangeError(Refusal.BAD_COMBINATION)
        executions = [each for each in executions if each.order_id == order_id]
    first_us, last_us = start_us or 0, end_us if end_us is not None else call.exchange.now_us()
    executions = [each for each in executions if first_us <= each.time_us <= last_us]
    limit = parameters.limit()
    return executions[:limit] if oldest_first else executions[-limit:]


def _my_prevented_matches(call: Call) -> object:
    parameters, found = call.parameters, call.account.prevented[call.symbol]
    match_id, order_id = parameters.integer("preventedMatchId"), parameters.integer("orderId")
    if (match_id is None) == (order_id is None):
        raise ExchangeError(Refusal.BAD_COMBINATION)
    first_id = parameters.integer("fromPreventedMatchId") or 0
    matches = {
        each.match_id: each
        for each in found
        if match_id in {None, each.match_id}
        and order_id in {None, each.order_id, each.counter_order_id}
        and each.match_id >= first_id
    }
    return [prevented_view(each, call.unit) for each in list(matches.values())[: parameters.limit()]]


def _order_counts(call: Call) -> object:
    return call.orders.view(call.account.name, call.exchange.now_us())


def _weight_of_prevented(parameters: Parameters) -> int:
    return 20 if "orderId" in parameters else 2


ACCOUNT_ENDPOINTS = (
    Endpoint(_account, "GET", "/api/v3/account", 20, "account.status", signed=True),
    Endpoint(_order_counts, "GET", "/api/v3/rateLimit/order", 40, "account.rateLimits.orders", signed=True),
    Endpoint(
        _my_trades,
        "GET",
        "/api/v3/myTrades",
        lambda parameters: 5 if "orderId" in parameters else 20,
        "myTrades",
        signed=True,
    ),
    Endpoint(_my_allocations, "GET", "/api/v3/myAllocations", 20, "myAllocations", signed=True),
    Endpoint(
        _my_prevented_matches,
        "GET",
        "/api/v3/myPreventedMatches",
        _weight_of_prevented,
        "myPreventedMatches",
        signed=True,
    ),
)
