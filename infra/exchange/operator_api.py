"""The operator's API, which Binance does not have: deposits, withdrawals, books, faults.

It asks for no key: whoever reaches the port runs the exchange.
"""

from decimal import Decimal, InvalidOperation

import msgspec
from aiohttp import web

from infra.exchange.decimals import ZERO, truncate, wire
from infra.exchange.engine import Exchange
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.ledger import Account
from infra.exchange.records import Filled, Flow, FlowKind, Order, Side
from infra.exchange.rest import error_response, json_response
from infra.exchange.websocket_api import WebSocketApi

PRODUCT = "portfolio simulated exchange"


class _Movement(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    asset: str
    amount: str


class OperatorApi:
    """Routes under `/operator/`."""

    def __init__(self, exchange: Exchange, websocket_api: WebSocketApi) -> None:
        self._exchange = exchange
        self._websocket_api = websocket_api

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get("/operator/", self._identity),
            web.get("/operator/books", self._books),
            web.post("/operator/deposit", self._deposit),
            web.post("/operator/withdraw", self._withdraw),
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

    async def _deposit(self, request: web.Request) -> web.Response:
        return await self._move(request, FlowKind.DEPOSIT)

    async def _withdraw(self, request: web.Request) -> web.Response:
        return await self._move(request, FlowKind.WITHDRAWAL)

    async def _move(self, request: web.Request, kind: FlowKind) -> web.Response:
        try:
            account, asset, amount = self._read_movement(await request.read())
            flow = self._exchange.move(account, asset, amount if kind is FlowKind.DEPOSIT else -amount, kind)
        except ExchangeError as error:
            return error_response(error)
        return json_response(_flow_view(flow))

    def _read_movement(self, body: bytes) -> tuple[Account, str, Decimal]:
        try:
            movement = msgspec.json.decode(body, type=_Movement)
        except msgspec.MsgspecError:
            raise ExchangeError(Refusal.BAD_JSON) from None
        account = self._exchange.ledger.accounts.get(movement.account)
        if account is None:
            raise ExchangeError(Refusal.BAD_PARAMETER, "account")
        if movement.asset not in account.balances:
            raise ExchangeError(Refusal.BAD_PARAMETER, "asset")
        try:
            amount = Decimal(movement.amount)
        except InvalidOperation:
            raise ExchangeError(Refusal.BAD_PARAMETER, "amount") from None
        if not amount.is_finite() or amount <= ZERO or amount != truncate(amount):
            raise ExchangeError(Refusal.BAD_PARAMETER, "amount")
        return account, movement.asset, amount

    async def _disconnect(self, _request: web.Request) -> web.Response:
        return json_response({"disconnected": self._websocket_api.disconnect()})


def books(account: Account) -> dict[str, object]:
    """All that an account holds and did, exactly: what a test compares a ledger with."""
    return {
        "balances": {
            asset: {"free": wire(balance.free), "locked": wire(balance.locked)}
            for asset, balance in account.balances.items()
        },
        "trades": [
            _trade_view(trade, account.orders[trade.order_id])
            for trade in sorted(
                (trade for trades in account.trades.values() for trade in trades),
                key=lambda trade: (trade.time_us, trade.symbol, trade.trade_id),
            )
        ],
        "flows": [_flow_view(flow) for flow in account.flows],
        "open_orders": list(account.open_orders),
    }


def _trade_view(trade: Filled, order: Order) -> dict[str, object]:
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
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


def _flow_view(flow: Flow) -> dict[str, object]:
    return {
        "id": flow.flow_id,
        "kind": flow.kind,
        "asset": flow.asset,
        "amount": wire(flow.quantity),
        "price": wire(flow.price),
        "time_us": flow.time_us,
    }
