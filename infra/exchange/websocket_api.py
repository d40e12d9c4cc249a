"""The WebSocket API at `/ws-api/v3`: the endpoints of REST by name, and the user data stream.

One connection carries any number of subscriptions, one for each account, numbered from zero.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
from aiohttp import web

from infra.exchange.disturbances import DisturbedStream
from infra.exchange.endpoints import Call, Endpoint
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.events import Event, TimeUnit, in_unit
from infra.exchange.faults import FaultKind, Target
from infra.exchange.parameters import Parameters
from infra.exchange.rest import Gate, check_permission, error_response, failure, time_unit
from infra.exchange.security import AccountKey, KeyKind, check_time, verify, websocket_payloads
from infra.exchange.sockets import ClientSocket

_SUBSCRIPTION_WEIGHT = 2
_CONNECTION_WEIGHT = 2


class _Request(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: dict[str, str | int | float | bool | None] = {}


class _Logon(NamedTuple):
    owner: AccountKey
    since_us: int


class WebSocketApi:
    """All connections to the WebSocket API."""

    def __init__(self, gate: Gate, endpoints: Iterable[Endpoint]) -> None:
        self._gate = gate
        self._endpoints = {each.websocket_method: each for each in endpoints if each.websocket_method}
        self._sessions: set[_Session] = set()
        gate.exchange.user_listeners.append(self._publish)

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Serve a connection."""
        try:
            unit = time_unit(request.query.get("timeUnit"))
            self._gate.weights.charge(request.remote or "", _CONNECTION_WEIGHT, self._gate.exchange.now_us())
        except ExchangeError as error:
            return error_response(error)
        shows_limits = request.query.get("returnRateLimits", "true").lower() != "false"
        socket = ClientSocket(request)
        session = _Session(self._gate, self._endpoints, socket, request.remote or "", unit, shows_limits=shows_limits)
        self._sessions.add(session)
        try:
            return await socket.run(session.on_text)
        finally:
            self._sessions.discard(session)

    def connections_of(self, account: str) -> "list[_Session]":
        """The connections that carry an account's events; all that carry any for no account."""
        return [
            session
            for session in self._sessions
            if (account in session.subscriptions.values() if account else session.subscriptions)
        ]

    def disconnect(self) -> int:
        """Cut every connection that carries user data; returns how many there were."""
        cut = self.connections_of("")
        for session in cut:
            session.socket.abort()
        return len(cut)

    async def close(self) -> None:
        """End every connection, for a shutdown."""
        for session in list(self._sessions):
            await session.socket.close()

    def _publish(self, account: str, events: list[Event]) -> None:
        for session in self._sessions:
            session.publish(account, events)


class _Session:
    """What one connection has subscribed to and is told."""

    def __init__(
        self,
        gate: Gate,
        endpoints: dict[str, Endpoint],
        socket: ClientSocket,
        address: str,
        unit: TimeUnit,
        *,
        shows_limits: bool,
    ) -> None:
        self.socket = socket
        self.subscriptions: dict[int, str] = {}
        self._stream = DisturbedStream(socket.send_encoded, gate.faults, Target.USER)
        self._gate = gate
        self._endpoints = endpoints
        self._address = address
        self._unit = unit
        self._shows_limits = shows_limits
        self._next_subscription = 0
        self._connected_us = gate.exchange.now_us()
        self._logon: _Logon | None = None
        self._logon_subscription = -1
        self._own_methods: dict[str, Callable[[dict[str, str]], object]] = {
            "userDataStream.subscribe.signature": self._subscribe,
            "userDataStream.subscribe": self._subscribe_logged_on,
            "userDataStream.unsubscribe": self._unsubscribe,
            "session.logon": self._log_on,
            "session.status": self._status,
            "session.logout": self._log_out,
            "session.subscriptions": self._list,
        }

    def publish(self, account: str, events: list[Event]) -> None:
        """Send an account's events on each subscription to it."""
        for subscription, subscribed in self.subscriptions.items():
            if subscribed == account:
                for event in events:
                    message = {"subscriptionId": subscription, "event": in_unit(event, self._unit)}
                    self._stream.send(msgspec.json.encode(message), account)

    def announce_shutdown(self) -> None:
        """Say that the connection will end."""
        event: Event = {"e": "serverShutdown", "E": self._gate.exchange.now_us()}
        self.socket.send({"event": in_unit(event, self._unit)})

    def terminate_stream(self, account: str) -> None:
        """End the subscriptions of an account, or all."""
        ended: Event = {"e": "eventStreamTerminated", "E": self._gate.exchange.now_us()}
        for subscription, subscribed in list(self.subscriptions.items()):
            if account in {"", subscribed}:
                del self.subscriptions[subscription]
                self._send_event(subscription, ended)

    def on_text(self, text: str) -> None:
        """Answer a request."""
        try:
            request = _decode(text)
        except ExchangeError as error:
            self._reply(None, self._refusal(error))
            return
        fault = self._gate.faults.on_request(Target.WEBSOCKET_API, request.method)
        if fault is None:
            self._reply(request.id, self._respond(request))
            return
        if fault[0].executed:
            self._respond(request)
        if fault[0].kind is not FaultKind.HANG:
            self._reply(request.id, self._refusal(failure(*fault, self._gate.exchange.server_time_us())))

    def _reply(self, request_id: int | str | None, answer: dict[str, object]) -> None:
        if self._shows_limits:
            answer.setdefault("rateLimits", [self._weight_limit()])
        self.socket.send({"id": request_id} | answer)

    def _respond(self, request: _Request) -> dict[str, object]:
        try:
            return self._answer(request)
        except ExchangeError as error:
            return self._refusal(error)

    def _refusal(self, error: ExchangeError) -> dict[str, object]:
        payload = error.payload
        if error.retry_after_s is not None:
            now_ms = self._gate.exchange.server_time_us() // 1000
            payload |= {"data": {"serverTime": now_ms, "retryAfter": now_ms + error.retry_after_s * 1000}}
        return {"status": error.status, "error": payload}

    def _answer(self, request: _Request) -> dict[str, object]:
        method = request.method.removeprefix("v3/")
        values = {name: _text(value) for name, value in request.params.items() if value is not None}
        parameters = Parameters(values)
        endpoint = self._endpoints.get(method)
        if endpoint is None and method not in self._own_methods:
            raise ExchangeError(Refusal.BAD_PARAMETER, "method")
        weight = endpoint.weight_of(parameters) if endpoint else _SUBSCRIPTION_WEIGHT
        self._gate.weights.charge(self._address, weight, self._gate.exchange.now_us())
        if endpoint is None:
            return {"status": 200, "result": self._own_methods[method](values)}
        gate, owner = self._gate, self._sign_in(values, endpoint) if endpoint.signed else None
        account = None if owner is None else gate.exchange.ledger.account(owner.account)
        call = Call(gate.exchange, parameters, self._unit, account, owner, gate.orders)
        answer: dict[str, object] = {"status": 200, "result": gate.carry_out(endpoint, call)}
        if endpoint.orders and self._shows_limits:
            counts = gate.orders.view(call.account.name, gate.exchange.now_us())
            answer["rateLimits"] = [*counts, self._weight_limit()]
        return answer

    def _sign_in(self, values: dict[str, str], endpoint: Endpoint | None = None) -> AccountKey:
        if self._logon is not None and "signature" not in values:
            owner = self._logon.owner
            check_time(Parameters(values), self._gate.exchange.server_time_us())
        else:
            owner = self._gate.keys.find(values.get("apiKey"))
            verify(owner, websocket_payloads(values), Parameters(values), self._gate.exchange.server_time_us())
        if endpoint is not None:
            check_permission(owner, endpoint)
        return owner

    def _log_on(self, values: dict[str, str]) -> object:
        owner = self._gate.keys.find(values.get("apiKey"))
        if owner.kind is not KeyKind.ED25519:
            raise ExchangeError(Refusal.KEY_CANNOT_LOG_ON, owner.kind.value)
        verify(owner, websocket_payloads(values), Parameters(values), self._gate.exchange.server_time_us())
        self._logon = _Logon(owner, self._gate.exchange.now_us())
        return self._status(values)

    def _log_out(self, values: dict[str, str]) -> object:
        self._logon = None
        if self._logon_subscription in self.subscriptions:
            self.terminate_stream(self.subscriptions[self._logon_subscription])
        return self._status(values)

    def _status(self, _values: dict[str, str]) -> object:
        stamp, logon = self._unit.stamp, self._logon
        return {
            "apiKey": logon.owner.key if logon else None,
            "authorizedSince": stamp(logon.since_us) if logon else None,
            "connectedSince": stamp(self._connected_us),
            "returnRateLimits": self._shows_limits,
            "serverTime": stamp(self._gate.exchange.server_time_us()),
            "userDataStream": bool(self.subscriptions),
        }

    def _subscribe_logged_on(self, _values: dict[str, str]) -> object:
        if self._logon is None:
            raise ExchangeError(Refusal.NOT_LOGGED_ON)
        answer = self._add_subscription(self._logon.owner.account)
        self._logon_subscription = answer["subscriptionId"]
        return answer

    def _subscribe(self, values: dict[str, str]) -> object:
        return self._add_subscription(self._sign_in(values).account)

    def _add_subscription(self, account: str) -> dict[str, int]:
        if account in self.subscriptions.values():
            raise ExchangeError(Refusal.SUBSCRIPTION_ACTIVE)
        subscription = self._next_subscription
        self._next_subscription += 1
        self.subscriptions[subscription] = account
        return {"subscriptionId": subscription}

    def _unsubscribe(self, values: dict[str, str]) -> object:
        wanted = Parameters(values).integer("subscriptionId")
        if wanted is not None and wanted not in self.subscriptions:
            raise ExchangeError(Refusal.SUBSCRIPTION_INACTIVE)
        self.terminate_stream("" if wanted is None else self.subscriptions[wanted])
        return {}

    def _list(self, _values: dict[str, str]) -> object:
        return [{"subscriptionId": subscription} for subscription in self.subscriptions]

    def _send_event(self, subscription: int, event: Event) -> None:
        self.socket.send({"subscriptionId": subscription, "event": in_unit(event, self._unit)})

    def _weight_limit(self) -> dict[str, object]:
        weights = self._gate.weights
        return {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": weights.limit,
            "count": weights.used(self._address, self._gate.exchange.now_us()),
        }


def _decode(text: str) -> _Request:
    try:
        return msgspec.json.decode(text, type=_Request)
    except msgspec.MsgspecError:
        raise ExchangeError(Refusal.BAD_JSON) from None


def _text(value: str | float | bool) -> str:  # noqa: FBT001 - any JSON value
    """A JSON value as it stands in a signature: `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
