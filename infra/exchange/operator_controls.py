"""The operator's hands on the exchange itself: accounts and keys, symbols, orders past all limits, what was used."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from infra.exchange.accounts import AccountDescription
from infra.exchange.endpoints import Call
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.events import TimeUnit
from infra.exchange.generated import SymbolError
from infra.exchange.order_endpoints import new_order
from infra.exchange.parameters import Parameters
from infra.exchange.records import SymbolStatus
from infra.exchange.rest import Gate, error_response, json_response

Wanted = TypeVar("Wanted")


class _SymbolRequest(msgspec.Struct, forbid_unknown_fields=True):
    symbol: str
    status: SymbolStatus


class _OrdersRequest(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    orders: list[dict[str, str]]


class OperatorControls:
    """Routes under `/operator/` that need no fault and move no money by themselves."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.post("/operator/accounts", _reading(AccountDescription, self._open_account)),
            web.get("/operator/symbols", self._list_symbols),
            web.post("/operator/symbols", _reading(_SymbolRequest, self._change_symbol)),
            web.post("/operator/orders", _reading(_OrdersRequest, self._place)),
            web.get("/operator/limits", self._limits),
        ]

    def _open_account(self, wanted: AccountDescription) -> object:
        wanted.check()
        exchange = self._gate.exchange
        unknown = set(wanted.balances or ()) - set(exchange.listing.assets)
        if unknown:
            raise ExchangeError(Refusal.BAD_PARAMETER, "balances")
        keys = wanted.account_keys()
        account = exchange.open_account(wanted.account, wanted.balances, wanted.trade_group)
        for key in keys:
            self._gate.keys.add(key)
        return {"account": account.name, "keys": [key.key for key in keys]}

    async def _list_symbols(self, _request: web.Request) -> web.Response:
        exchange = self._gate.exchange
        return json_response({symbol: exchange.status(symbol) for symbol in exchange.listing.rules})

    def _change_symbol(self, wanted: _SymbolRequest) -> object:
        self._gate.exchange.change_symbol(wanted.symbol, wanted.status)
        return {"symbol": wanted.symbol, "status": wanted.status}

    def _place(self, wanted: _OrdersRequest) -> object:
        """Orders as with a key, but past signatures, weights and counts: to make much happen in little time."""
        account = self._gate.exchange.ledger.accounts.get(wanted.account)
        if account is None:
            raise ExchangeError(Refusal.BAD_PARAMETER, "account")
        exchange, orders, answers = self._gate.exchange, self._gate.orders, []
        for values in wanted.orders:
            try:
                answers.append(
                    new_order(Call(exchange, Parameters(values), TimeUnit.MILLISECOND, account, None, orders))
                )
            except ExchangeError as error:
                answers.append(error.payload)
        return answers

    async def _limits(self, _request: web.Request) -> web.Response:
        """What each address, or account, used in any one minute at most, and how often it was refused."""
        histories = {each.name.lower(): weights.view() for each, weights in self._gate.sapi_weights.items()}
        return json_response({"api": self._gate.weights.view(), **histories})


def _reading(
    kind: type[Wanted], answer: Callable[[Wanted], object]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            return json_response(answer(msgspec.json.decode(await request.read(), type=kind, strict=False)))
        except SymbolError as error:
            return json_response({"error": str(error)}, status=int(Refusal.BAD_SYMBOL.status))
        except ExchangeError as error:
            return error_response(error)
        except ValueError as error:
            return json_response({"error": str(error)}, status=int(Refusal.BAD_JSON.status))

    return handle
