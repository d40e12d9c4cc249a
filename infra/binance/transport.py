"""Requests that only read, over REST: held back by the budget, signed, repeated until there is an answer.

python-binance's client signs and sends; it stays private to this module, so that its methods that place orders cannot
be reached from anywhere in the service.
"""

import asyncio
import logging
import warnings
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

import aiohttp
import msgspec

from infra.backoff import backoff_s
from infra.binance.budget import Priority, WeightBudget
from infra.binance.errors import (
    CLOCK_ERROR,
    KEY_ERRORS,
    OUTCOME_UNKNOWN,
    MalformedEvent,
    RequestRefused,
    key_refused,
)
from infra.binance.keys import KeyKind, SigningKey
from infra.binance.times import epoch_us
from infra.binance.venue import Venue
from infra.binance.weights import Weight, WeightScope, weight_of
from infra.hiding import without_secrets

with warnings.catch_warnings():
    # python-binance's own socket, which is not used here, imports a name that websockets has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from binance.async_client import AsyncClient
    from binance.exceptions import BinanceRequestException

log = logging.getLogger(__name__)

_TOO_MANY_REQUESTS, _BANNED, _FORBIDDEN = 429, 418, 403
_SERVER_ERRORS_FROM = 500
_RETRY_AFTER_DEFAULT_S = {_TOO_MANY_REQUESTS: 10.0, _BANNED: 120.0}
_FORBIDDEN_WAIT_S = 5.0
_BODY_SHOWN = 200
_ERROR_SHOWN = 500
_BACKOFF_FIRST_S = 0.25
_BACKOFF_MAX_S = 30.0

_headers: ContextVar[Mapping[str, str]] = ContextVar("headers")
"""Of the answer to the request that the running task has made last."""


class _ErrorAnswer(Exception):
    """An answer of the exchange, or of what stands before it, that is an error."""

    def __init__(self, status: int, code: int, message: str, retry_after: str) -> None:
        super().__init__(f"{status}: {message} (code {code})")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after

    @classmethod
    def of(cls, status: int, body: str, headers: Mapping[str, str]) -> "_ErrorAnswer":
        """The error of an answer; zero is the code of a body that has none."""
        try:
            content = msgspec.json.decode(body, type=_ErrorBody)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
            content = _ErrorBody(msg=body)
        # Before it is cut, so that no part of a key is left.
        message = without_secrets(content.msg)[:_BODY_SHOWN]
        return cls(status, content.code, message, headers.get("Retry-After", ""))


class _ErrorBody(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Request(NamedTuple):
    path: str
    params: Mapping[str, str]
    is_signed: bool = False
    priority: Priority = Priority.LIVE

    @property
    def weight(self) -> Weight:
        return weight_of(self.path, self.params)


class _Answer(NamedTuple):
    """What came, and when, by this machine's clock."""

    content: Any
    sent_us: int
    received_us: int


class Transport:
    """Sends requests for one key, or for none.

    It waits out rate limits and tries again on network and server errors, for as long as it takes: a read that is
    repeated does no harm. What a person must clear is raised.

    Attributes:
        latency_ms: How long the last request took.
        key: What signs; None: only what is public can be asked.
        venue: What it shares with other clients of the exchange.
    """

    def __init__(self, rest_url: str, key: SigningKey | None, venue: Venue) -> None:
        """Prepare a client; it must be made inside a running event loop, and closed.

        Args:
            rest_url: Base address, such as `https://api.binance.com`.
            key: What signs.
            venue: Clock and budgets of the exchange.
        """
        clock = venue.clock

        class Client(AsyncClient):  # type: ignore[misc]  # python-binance carries no types
            @property
            def timestamp_offset(self) -> float:
                return clock.offset_us / 1_000

            @timestamp_offset.setter
            def timestamp_offset(self, _milliseconds: float) -> None:
                """The clock is measured here, not by the client."""

            async def _handle_response(self, response: aiohttp.ClientResponse) -> Any:  # noqa: ANN401 - JSON
                _headers.set(response.headers)
                if not response.ok:
                    # The library's own error cannot be made of a body that is JSON but no object.
                    raise _ErrorAnswer.of(response.status, await response.text(), response.headers)
                return await super()._handle_response(response)

        self.latency_ms = 0.0
        self.key = key
        self.venue = venue
        hmac_secret = key.secret if key is not None and key.kind is KeyKind.HMAC else ""
        private_key = key.secret if key is not None and key.kind is not KeyKind.HMAC else None
        self._rest_url = rest_url.rstrip("/")
        self._client: Any = Client(
            key.name if key is not None else "",
            hmac_secret,
            private_key=private_key,
            loop=asyncio.get_running_loop(),
            time_unit="MICROSECOND",
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close_connection()

    async def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        is_signed: bool = False,
        priority: Priority = Priority.LIVE,
    ) -> Any:  # noqa: ANN401 - whatever JSON the exchange answers
        """`GET /path`, once its weight may be used.

        Args:
            path: Such as `api/v3/account`; its weight is looked up.
            params: Its parameters, by their names on the wire.
            is_signed: Whether it needs the key.
            priority: Who goes first when weight is short.

        Raises:
            KeyRefused: The key is at fault.
            RequestRefused: The request is at fault; asking again would not help.
        """
        return (await self._repeat(_Request(path, params or {}, is_signed, priority))).content

    async def measure_clock(self) -> None:
        """Measure how far this machine's clock is from the exchange's.

        Raises:
            MalformedEvent: The answer is no time.
        """
        answer = await self._repeat(_Request("api/v3/time", {}))
        try:
            exchange_us = epoch_us(int(answer.content["serverTime"]))
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedEvent(f"time cannot be read: {error!r}") from error
        self.venue.clock.set_from(sent_us=answer.sent_us, received_us=answer.received_us, exchange_us=exchange_us)

    async def _repeat(self, request: _Request) -> _Answer:
        attempt = 0
        while True:
            if request.is_signed and self.venue.clock.is_due:
                await self.measure_clock()
            try:
                return await self._send(request)
            except _ErrorAnswer as error:
                wait_s = await self._wait_after(request, error, attempt)
            except (aiohttp.ClientError, BinanceRequestException, TimeoutError, OSError) as error:
                wait_s = _backoff_s(attempt)
                # Aiohttp's errors have the whole request in them, header by header.
                shown = without_secrets(repr(error))[:_ERROR_SHOWN]
                log.warning("%s: %s; next attempt in %.1f s", request.path, shown, wait_s)
            attempt += 1
            await asyncio.sleep(wait_s)

    async def _send(self, request: _Request) -> _Answer:
        """Send once; whatever becomes of it, its weight is counted."""
        clock, budget = self.venue.clock, self._budget(request)
        async with budget.hold(request.weight.weight, request.priority) as held:
            _headers.set({})
            sent_us = clock.wall_us
            try:
                content = await self._client._request(  # noqa: SLF001 - the only way to a path by its name
                    "get", f"{self._rest_url}/{request.path}", signed=request.is_signed, data=dict(request.params)
                )
            finally:
                received_us = clock.wall_us
                used = _headers.get().get(request.weight.scope, "")
                if used.isdigit():
                    budget.learn(held, int(used))
        self.latency_ms = (received_us - sent_us) / 1_000
        log.debug("%s: %.1f ms, weight used %d", request.path, self.latency_ms, budget.used)
        return _Answer(content, sent_us, received_us)

    def _budget(self, request: _Request) -> WeightBudget:
        scope = request.weight.scope
        if scope is WeightScope.API:
            return self.venue.weights
        is_by_account = scope is WeightScope.SAPI_ACCOUNT and self.key is not None
        return self.venue.sapi_weights(request.path, self.key.name if is_by_account and self.key else "")

    async def _wait_after(self, request: _Request, error: _ErrorAnswer, attempt: int) -> float:
        """How long to wait before asking again.

        Raises:
            KeyRefused: The key is at fault.
            RequestRefused: The request is at fault; asking again would not help.
        """
        status, name = error.status, request.path
        if status in _RETRY_AFTER_DEFAULT_S:
            wait_s = _retry_after_s(error.retry_after, _RETRY_AFTER_DEFAULT_S[status])
            log.warning("%s: rate limited (%s); nothing is sent for %.1f s, as asked", name, status, wait_s)
            # A ban is of the address, and so holds for every budget.
            self._budget(request).block(wait_s)
            if status == _BANNED:
                self.venue.weights.block(wait_s)
            return 0.0
        if error.code in KEY_ERRORS and request.weight.scope is WeightScope.API:
            raise key_refused(error.code, error.message) from None
        if error.code == CLOCK_ERROR and request.is_signed:
            await self.measure_clock()
            return _backoff_s(attempt)
        if status == _FORBIDDEN and not error.code:
            wait_s = _FORBIDDEN_WAIT_S + _backoff_s(attempt)
        elif status >= _SERVER_ERRORS_FROM or error.code in OUTCOME_UNKNOWN:
            wait_s = _backoff_s(attempt)
        else:
            raise RequestRefused(name, error.code, error.message) from error
        log.warning("%s: %s; next attempt in %.1f s", name, error, wait_s)
        return wait_s


def _backoff_s(attempt: int) -> float:
    return backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)


def _retry_after_s(header: str, default_s: float) -> float:
    return float(header) if header.isdigit() else default_s
