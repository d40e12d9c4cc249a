"""The operator's API, which Binance does not have: what happens to accounts besides trades, books.

It asks for no key: whoever reaches the port runs the exchange.
"""

from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from infra.exchange.decimals import wire
from infra.exchange.engine import Exchange
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.ledger import Account
from infra.exchange.operations import OperationRequest, Operations
from infra.exchange.records import Filled, Flow, Operation, OperationStatus, Order, Prevented, Side
from infra.exchange.rest import error_response, json_response
from infra.exchange.websocket_api import WebSocketApi

PRODUCT = "portfolio simulated exchange"


class _Advance(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    status: OperationStatus


class OperatorApi:
    """Routes under `/operator/`."""

    def __init__(self, exchange: Exchange, websocket_api: WebSocketApi) -> None:
        self._exchange = exchange
        self._websocket_api = websocket_api
        self._operations = Operations(exchange)

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get("/operator/", self._identity),
            web.get("/operator/books", self._books),
            *(web.post(f"/operator/{name}", self._performer(name)) for name in self._operations.names),
            web.post("/operator/status", self._advance),
            web.post("/operator/disconnect", self._disconnect),
        ]

    async def _identity(self, _request: web.Request) -> web.Response:
        return json_response({"product": PRODUCT, "accounts": list(self._exchange.ledger.accounts)})

    async def _books(self, request: web.Request) -> web.Response:
        wanted = request.query.get("account")
        accounts = self._exchange.ledger.accounts
        if wanted is not None and wanted not in accounts:
            return error_response(ExchangeError(Refusal.BAD_PARAMETER, "account"))
        chosen = accounts.values() if wanted is None else [accounts[wanted]]
        return json_response(
            {"time_us": self._exchange.now_us(), "accounts": {each.name: books(each) for each in chosen}}
        )

    def _performer(self, name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def perform(request: web.Request) -> web.Response:
            try:
                wanted = msgspec.json.decode(await request.read(), type=OperationRequest)
                return json_response(_operation_view(*self._operations.perform(name, wanted)))
            except msgspec.MsgspecError:
                return error_response(ExchangeError(Refusal.BAD_JSON))
            except ExchangeError as error:
                return error_response(error)

        return perform

    async def _advance(self, request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read(), type=_Advance)
            return json_response(_operation_view(*self._operations.advance(wanted.id, wanted.status)))
        except msgspec.MsgspecError:
            return error_response(ExchangeError(Refusal.BAD_JSON))
        except ExchangeError as error:
            return error_response(error)

    async def _disconnect(self, _request: web.Request) -> web.Response:
        return json_response({"disconnected": self._websocket_api.disconnect()})


def books(account: Account) -> dict[str, object]:
    """All that an account holds and did, exactly: what a test compares a ledger with."""
    return {
        "balances": {
            asset: {"free": wire(balance.free), "locked": wire(balance.locked)}
            for asset, balance in account.balances.items()
        },
        "trades": _executions(account, account.trades),
        "allocations": _executions(account, account.allocations),
        "prevented": [
            _prevented_view(each, account.orders[each.order_id])
            for prevented in account.prevented.values()
            for each in prevented
        ],
        "flows": [_flow_view(flow) for flow in account.flows],
        "open_orders": list(account.open_orders),
    }


def _executions(account: Account, executions: Mapping[str, list[Filled]]) -> list[dict[str, object]]:
    everything = (each for of_symbol in executions.values() for each in of_symbol)
    by_time = sorted(everything, key=lambda each: (each.time_us, each.symbol, each.trade_id, each.allocation_id or 0))
    return [_trade_view(each, account.orders[each.order_id]) for each in by_time]


def _prevented_view(prevented: Prevented, order: Order) -> dict[str, object]:
    return {
        "symbol": prevented.symbol,
        "id": prevented.match_id,
        "orderId": prevented.order_id,
        "side": order.placed.side,
        "mode": prevented.mode,
        "price": wire(prevented.price),
        "qty": wire(prevented.quantity),
        "quoteQty": wire(prevented.quote_quantity),
        "expired": wire(prevented.expired),
        "transferred": prevented.transferred,
        "time_us": prevented.time_us,
    }


def _trade_view(trade: Filled, order: Order) -> dict[str, object]:
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id if trade.allocation_id is None else trade.allocation_id,
        "orderId": trade.order_id,
        "side": order.placed.side,
        "price": wire(trade.price),
        "qty": wire(trade.quantity),
        "quoteQty": wire(trade.quote_quantity),
        "commission": wire(trade.commission),
        "commissionAsset": trade.commission_asset,
        "isBuyer": order.placed.side is Side.BUY,
        "isMaker": trade.is_maker,
        "time_us": trade.time_us,
    }


def _operation_view(operation: Operation, flows: list[Flow]) -> dict[str, object]:
    return {
        "id": operation.operation_id,
        "kind": operation.kind,
        "asset": operation.asset,
        "amount": wire(operation.amount),
        "status": operation.status,
        "time_us": operation.time_us,
        "flows": [_flow_view(flow) for flow in flows],
    }


def _flow_view(flow: Flow) -> dict[str, object]:
    return {
        "id": flow.flow_id,
        "operation": flow.operation_id or None,
        "kind": flow.kind,
        "asset": flow.asset,
        "amount": wire(flow.quantity),
        "price": wire(flow.price),
        "time_us": flow.time_us,
    }
