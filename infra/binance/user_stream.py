"""The user data stream over Binance's WebSocket API (the listen key of older days is gone)."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection

from infra.binance.connection import open_connection, receive, send
from infra.binance.errors import KEY_ERRORS, StreamLost, key_refused

_SUBSCRIBE_TIMEOUT_S = 10.0
_SUBSCRIBE, _PROBE = "subscribe", "probe"
_OK = 200

Sign = Callable[[dict[str, Any]], dict[str, Any]]
"""Adds key, timestamp and signature to the parameters of a request."""


class _Failure(msgspec.Struct):
    code: int = 0
    msg: str = ""
    data: dict[str, Any] | None = None


class _Reply(msgspec.Struct):
    id: str | int | msgspec.UnsetType | None = msgspec.UNSET
    status: int = _OK
    error: _Failure | None = None

    @property
    def is_event(self) -> bool:
        return self.id is msgspec.UNSET


_replies = msgspec.json.Decoder(_Reply)


class UserStream:
    """One subscription to the events of an account; made by `open_user_stream`."""

    def __init__(self, connection: ClientConnection, *, silence_s: float, probe_timeout_s: float) -> None:
        self._connection = connection
        self._silence_s = silence_s
        self._probe_timeout_s = probe_timeout_s
        self._early: list[str | bytes] = []

    async def subscribe(self, sign: Sign) -> None:
        """Subscribe; an event that overtakes the reply is kept.

        Raises:
            KeyRefused: The key is not accepted.
            StreamLost: The subscription was refused for the moment, or the connection has ended.
        """
        await self._request(_SUBSCRIBE, "userDataStream.subscribe.signature", sign({}))
        while True:
            try:
                frame = await receive(self._connection, _SUBSCRIBE_TIMEOUT_S)
            except TimeoutError as error:
                raise StreamLost("the subscription was not answered") from error
            reply = _read(frame)
            if reply is None or reply.is_event:
                self._early.append(frame)
            elif reply.id == _SUBSCRIBE:
                _require_accepted(reply)
                return

    async def frames(self) -> AsyncIterator[str | bytes]:
        """The frames of all events, as they come; a frame that is no JSON is passed on too.

        After `silence_s` without a frame the server is asked for a sign of life.

        Raises:
            StreamLost: The connection has ended, or no sign of life came.
        """
        for frame in self._early:
            yield frame
        self._early.clear()
        while True:
            frame = await self._next_frame()
            reply = _read(frame)
            if reply is None or reply.is_event:
                yield frame

    async def _next_frame(self) -> str | bytes:
        try:
            return await receive(self._connection, self._silence_s)
        except TimeoutError:
            await self._request(_PROBE, "ping")
        try:
            return await receive(self._connection, self._probe_timeout_s)
        except TimeoutError as error:
            raise StreamLost(f"silent for {self._silence_s + self._probe_timeout_s:.0f} s, also when asked") from error

    async def _request(self, name: str, method: str, params: dict[str, Any] | None = None) -> None:
        request = {"id": name, "method": method} | ({"params": params} if params else {})
        await send(self._connection, msgspec.json.encode(request))


@asynccontextmanager
async def open_user_stream(
    url: str, sign: Sign, *, silence_s: float = 30.0, probe_timeout_s: float = 5.0
) -> AsyncIterator[UserStream]:
    """Connect and subscribe to the events of the account that `sign` signs for; times come in microseconds.

    Args:
        url: Address of the WebSocket API.
        sign: Adds key, timestamp and signature to the parameters of a request.
        silence_s: How long no frame may come before the server is probed.
        probe_timeout_s: How long it may take to answer.

    Raises:
        KeyRefused: The key is not accepted.
        StreamLost: There is no connection or no subscription.
    """
    separator = "&" if "?" in url else "?"
    async with open_connection(f"{url}{separator}timeUnit=MICROSECOND") as connection:
        stream = UserStream(connection, silence_s=silence_s, probe_timeout_s=probe_timeout_s)
        await stream.subscribe(sign)
        yield stream


def _read(frame: str | bytes) -> _Reply | None:
    try:
        return _replies.decode(frame)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return None


def _require_accepted(reply: _Reply) -> None:
    if reply.status == _OK:
        return
    failure = reply.error or _Failure(msg="no reason given")
    if failure.code in KEY_ERRORS:
        raise key_refused(failure.code, failure.msg)
    retry_after_ms = (failure.data or {}).get("retryAfter", 0)
    wait_s = max(0.0, retry_after_ms / 1_000 - time.time()) if isinstance(retry_after_ms, int | float) else 0.0
    raise StreamLost(f"the subscription was refused ({reply.status}): {failure.code} {failure.msg}", wait_s)
