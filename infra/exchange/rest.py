"""The REST API: requests in, JSON and rate-limit headers out."""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from infra.exchange.endpoints import Call, Endpoint
from infra.exchange.engine import Exchange
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.events import TimeUnit
from infra.exchange.limits import RequestWeights
from infra.exchange.parameters import Parameters
from infra.exchange.security import KeyRing, rest_payload, verify


class Gate(NamedTuple):
    """What every request passes: the exchange, its keys and the weights that are used up."""

    exchange: Exchange
    keys: KeyRing
    weights: RequestWeights


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


def error_response(error: ExchangeError) -> web.Response:
    """A refusal as REST answers it."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return json_response(error.payload, status=error.status, headers=headers)


def json_response(payload: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=msgspec.json.encode(payload), status=status, headers=headers, content_type="application/json"
    )


class _RestHandler:
    """Answers the requests of one endpoint."""

    def __init__(self, gate: Gate, endpoint: Endpoint) -> None:
        self._gate = gate
        self._endpoint = endpoint

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request, with the weight that its address has used by now."""
        query = request.raw_path.partition("?")[2]
        body = await request.text()
        try:
            response = json_response(self._answer(request, query, body))
        except ExchangeError as error:
            response = error_response(error)
        used = self._gate.weights.used(request.remote or "", self._gate.exchange.now_us())
        response.headers["X-MBX-USED-WEIGHT"] = response.headers["X-MBX-USED-WEIGHT-1M"] = str(used)
        return response

    def _answer(self, request: web.Request, query: str, body: str) -> object:
        exchange, keys, weights = self._gate
        now_us = exchange.now_us()
        parameters = Parameters.from_pairs(
            parse_qsl(query, keep_blank_values=True), parse_qsl(body, keep_blank_values=True)
        )
        weights.charge(request.remote or "", self._endpoint.weight_of(parameters), now_us)
        unit = time_unit(request.headers.get("X-MBX-TIME-UNIT"))
        account = None
        if self._endpoint.signed:
            owner = keys.find(request.headers.get("X-MBX-APIKEY"))
            verify(owner, [rest_payload(query, body)], parameters, now_us)
            account = exchange.ledger.account(owner.account)
        return self._endpoint.handler(Call(exchange, parameters, unit, account))


async def _listen_key_gone(_request: web.Request) -> web.Response:
    return error_response(ExchangeError(Refusal.LISTEN_KEY_GONE))
