"""The REST API: requests in, JSON and rate-limit headers out."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from infra.exchange.endpoints import Call, Endpoint, WeightScope
from infra.exchange.engine import Exchange
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.events import TimeUnit
from infra.exchange.faults import Fault, FaultKind, Faults, Target
from infra.exchange.limits import OrderCounts, RequestWeights
from infra.exchange.parameters import Parameters
from infra.exchange.security import AccountKey, KeyRing, rest_payload, verify

_ANSWERED_BY_A_PROXY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}


class Gate(NamedTuple):
    """What every request passes: the exchange, its keys, what is used up, what goes wrong."""

    exchange: Exchange
    keys: KeyRing
    weights: RequestWeights
    faults: Faults
    sapi_weights: dict[WeightScope, RequestWeights]
    orders: OrderCounts

    def carry_out(self, endpoint: Endpoint, call: Call) -> object:
        """Let an endpoint answer, and count the orders that it places."""
        if endpoint.orders:
            account, now_us = call.account.name, self.exchange.now_us()
            self.orders.check(account, endpoint.orders, now_us)
            # Counted first, since what is filled at once takes it away again.
            self.orders.add(account, endpoint.orders, now_us)
            try:
                return endpoint.handler(call)
            except ExchangeError as error:
                if error.data is None:
                    self.orders.add(account, -endpoint.orders, now_us)
                raise
        return endpoint.handler(call)

    def budget(self, endpoint: Endpoint, address: str, account: str) -> tuple[RequestWeights, str]:
        """The weights that an endpoint uses up, and by whom they are counted."""
        if endpoint.scope is WeightScope.API:
            return self.weights, address
        user = account if endpoint.scope is WeightScope.SAPI_ACCOUNT else address
        return self.sapi_weights[endpoint.scope], f"{user} {endpoint.path}"


def time_unit(text: str | None) -> TimeUnit:
    """The unit of times that a client asks for; -1194 when there is none of that name."""
    try:
        return TimeUnit[(text or "MILLISECOND").upper()]
    except KeyError:
        raise ExchangeError(Refusal.BAD_TIME_UNIT) from None


def rest_routes(gate: Gate, endpoints: Iterable[Endpoint]) -> list[web.RouteDef]:
    """A route for each endpoint, and one that tells that listen keys are gone."""
    routes = [web.route(each.method, each.path, _RestHandler(gate, each).handle) for each in endpoints]
    return [*routes, web.route("*", "/api/v3/userDataStream", _listen_key_gone)]


def check_permission(owner: AccountKey, endpoint: Endpoint) -> None:
    """Refuse a key that may only read whatever changes something, with -2015."""
    if endpoint.method != "GET" and not owner.may_trade:
        raise ExchangeError(Refusal.UNKNOWN_KEY)


def error_response(error: ExchangeError) -> web.Response:
    """A refusal as REST answers it."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if error.refusal is Refusal.FORBIDDEN or error.status in _ANSWERED_BY_A_PROXY:
        # Not the exchange answers then but what stands before it, and that knows no JSON.
        page = f"<html><body><h1>{error.status} {HTTPStatus(error.status).phrase}</h1></body></html>"
        return web.Response(text=page, status=error.status, headers=headers, content_type="text/html")
    return json_response(error.payload, status=error.status, headers=headers)


def json_response(payload: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=msgspec.json.encode(payload), status=status, headers=headers, content_type="application/json"
    )


def failure(fault: Fault, retry_after_s: int, now_us: int) -> ExchangeError:
    """The error that a fault answers a request with."""
    match fault.kind:
        case FaultKind.TOO_MANY_REQUESTS:
            return ExchangeError(Refusal.TOO_MUCH_WEIGHT, 6000, retry_after_s=retry_after_s)
        case FaultKind.BANNED:
            until_ms = now_us // 1000 + retry_after_s * 1000
            return ExchangeError(Refusal.BANNED, until_ms, retry_after_s=retry_after_s)
        case FaultKind.FORBIDDEN:
            return ExchangeError(Refusal.FORBIDDEN)
        case FaultKind.SERVER_ERROR:
            return ExchangeError(Refusal.UNKNOWN, status=fault.status)
        case FaultKind.OUTSIDE_WINDOW:
            return ExchangeError(Refusal.OUTSIDE_WINDOW)
        case _:
            return ExchangeError(Refusal.TIMEOUT)


class _RestHandler:
    """Answers the requests of one endpoint."""

    def __init__(self, gate: Gate, endpoint: Endpoint) -> None:
        self._gate = gate
        self._endpoint = endpoint

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request, with the weight that its address has used by now."""
        query = request.raw_path.partition("?")[2]
        body = await request.text()
        fault = self._gate.faults.on_request(Target.REST, request.path)
        if fault is None:
            response = self._respond(request, query, body)
        else:
            if fault[0].executed:
                self._respond(request, query, body)
            response = await self._fail(request, *fault)
        weights, user = self._budget(request)
        used = str(weights.used(user, self._gate.exchange.now_us()))
        response.headers[self._endpoint.scope] = used
        if self._endpoint.scope is WeightScope.API:
            response.headers["X-MBX-USED-WEIGHT"] = used
        return response

    def _budget(self, request: web.Request) -> tuple[RequestWeights, str]:
        account = self._gate.keys.name_of(request.headers.get("X-MBX-APIKEY"))
        return self._gate.budget(self._endpoint, request.remote or "", account)

    def _respond(self, request: web.Request, query: str, body: str) -> web.Response:
        try:
            return json_response(self._answer(request, query, body), headers=self._order_counts(request))
        except ExchangeError as error:
            return error_response(error)

    def _order_counts(self, request: web.Request) -> dict[str, str]:
        if not self._endpoint.orders:
            return {}
        account = self._gate.keys.name_of(request.headers.get("X-MBX-APIKEY"))
        return self._gate.orders.headers(account, self._gate.exchange.now_us())

    async def _fail(self, request: web.Request, fault: Fault, retry_after_s: int) -> web.Response:
        if fault.kind is FaultKind.HANG:
            await asyncio.sleep(fault.duration_s)
            if request.transport is not None:
                request.transport.abort()
        return error_response(failure(fault, retry_after_s, self._gate.exchange.server_time_us()))

    def _answer(self, request: web.Request, query: str, body: str) -> object:
        exchange, keys = self._gate.exchange, self._gate.keys
        now_us = exchange.now_us()
        parameters = Parameters.from_pairs(
            parse_qsl(query, keep_blank_values=True), parse_qsl(body, keep_blank_values=True)
        )
        weights, user = self._budget(request)
        weights.charge(user, self._endpoint.weight_of(parameters), now_us)
        unit = time_unit(request.headers.get("X-MBX-TIME-UNIT"))
        account = owner = None
        if self._endpoint.signed:
            owner = keys.find(request.headers.get("X-MBX-APIKEY"))
            verify(owner, [rest_payload(query, body)], parameters, exchange.server_time_us())
            check_permission(owner, self._endpoint)
            account = exchange.ledger.account(owner.account)
        return self._gate.carry_out(self._endpoint, Call(exchange, parameters, unit, account, owner, self._gate.orders))


async def _listen_key_gone(_request: web.Request) -> web.Response:
    return error_response(ExchangeError(Refusal.LISTEN_KEY_GONE))
