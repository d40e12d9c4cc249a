"""One connection with the user data of one account, over Binance's WebSocket API (listen keys are gone)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from websockets.asyncio.client import ClientConnection

from infra.binance import weights
from infra.binance.budget import Reservation
from infra.binance.connection import open_connection, receive, send
from infra.binance.errors import CLOCK_ERROR, KEY_ERRORS, TOO_MANY_REQUESTS, StreamLost, key_refused
from infra.binance.keys import KeyKind, SigningKey
from infra.binance.times import epoch_us
from infra.binance.venue import Venue

log = logging.getLogger(__name__)

_FRAMES_MAX = 100_000
"""Frames that may wait here; beyond it the connection is given up, and what was missed is read over REST later."""

_OK = 200
_RETRY_AFTER_DEFAULT_S = 10.0
_RETRY_AFTER_MAX_S = 3 * 86_400.0


class Liveness(NamedTuple):
    """When a connection is taken for dead."""

    silence_s: float = 30.0
    """How long no frame may come before the server is asked for a sign of life."""
    check_s: float = 60.0
    """How often the key and the subscription are checked, by a signed request over the same connection."""
    answer_s: float = 10.0
    """How long any answer may take."""


class _Failure(msgspec.Struct):
    code: int = 0
    msg: str = ""
    data: dict[str, Any] | None = None


class _RateLimit(msgspec.Struct, rename={"kind": "rateLimitType"}):
    kind: str
    count: int


class _Reply(msgspec.Struct, rename={"rate_limits": "rateLimits"}):
    id: str | int | msgspec.UnsetType | None = msgspec.UNSET
    status: int = _OK
    result: Any = None
    error: _Failure | None = None
    rate_limits: list[_RateLimit] = []

    @property
    def is_event(self) -> bool:
        return self.id is msgspec.UNSET


_replies = msgspec.json.Decoder(_Reply)


class _Asked(NamedTuple):
    """A request that waits for its reply."""

    reply: asyncio.Future[_Reply]
    reservation: Reservation


class UserStream:
    """One subscription to the events of an account; made by `open_user_stream`."""

    def __init__(self, connection: ClientConnection, key: SigningKey, venue: Venue, liveness: Liveness) -> None:
        self._connection = connection
        self._key = key
        self._venue = venue
        self._liveness = liveness
        self._frames: asyncio.Queue[str | bytes | Exception] = asyncio.Queue()
        self._asked: dict[str, _Asked] = {}
        self._number = 0
        self._heard_s = 0.0

    async def next_frame(self) -> str | bytes:
        """The next event, as it came; a frame that is no JSON is passed on too.

        Raises:
            StreamLost: The connection has ended, or shows no sign of life; every event before has been given.
            KeyRefused: The key is not accepted any more.
        """
        frame = await self._frames.get()
        if isinstance(frame, Exception):
            self._frames.put_nowait(frame)
            raise frame
        return frame

    async def ping(self) -> None:
        """Ask for a sign of life; whatever was sent before the answer has then been received.

        Raises:
            StreamLost: None came.
        """
        await self._ask("ping", {}, weights.PING)

    async def subscribe(self) -> None:
        """Subscribe: logged on where the key can do that, else by a signature.

        Raises:
            KeyRefused: The key is not accepted.
            StreamLost: The subscription was refused for the moment, or the connection has ended.
        """
        if self._key.kind is KeyKind.ED25519:
            self._require(await self._ask("session.logon", self._signed(), weights.LOG_ON))
            reply = await self._ask("userDataStream.subscribe", {}, weights.SUBSCRIBE)
        else:
            reply = await self._ask("userDataStream.subscribe.signature", self._signed(), weights.SUBSCRIBE)
        self._require(reply)

    async def read(self) -> None:
        """Sort what comes into events and replies, until the connection ends."""
        try:
            while True:
                frame = await receive(self._connection)
                self._heard_s = asyncio.get_running_loop().time()
                reply = _read(frame)
                if reply is not None and not reply.is_event:
                    self._take(reply)
                elif self._frames.qsize() < _FRAMES_MAX:
                    self._frames.put_nowait(frame)
                else:
                    self.end(StreamLost(f"more than {_FRAMES_MAX} events wait to be read"))
                    return
        except Exception as error:  # noqa: BLE001 - whatever it is, who reads the stream must hear of it
            self.end(error)

    async def watch(self) -> None:
        """Ask for signs of life, and whether key and subscription still hold, until they do not."""
        loop = asyncio.get_running_loop()
        check_at_s = loop.time() + self._liveness.check_s
        try:
            while True:
                silent_at_s = self._heard_s + self._liveness.silence_s
                await asyncio.sleep(max(0.0, min(check_at_s, silent_at_s) - loop.time()))
                if loop.time() >= check_at_s:
                    check_at_s = loop.time() + self._liveness.check_s
                    await self._check()
                elif loop.time() >= self._heard_s + self._liveness.silence_s:
                    await self.ping()
        except Exception as error:  # noqa: BLE001 - whatever it is, who reads the stream must hear of it
            self.end(error)

    def end(self, error: Exception) -> None:
        """Nothing more will come; the first reason counts."""
        self._frames.put_nowait(error)
        for asked in self._asked.values():
            self._venue.weights.release(asked.reservation)
            if not asked.reply.done():
                asked.reply.set_exception(error)
                asked.reply.exception()

    async def _check(self) -> None:
        """Whether the key still reads the account, and the subscription is still there.

        Raises:
            StreamLost: It is not, or no answer came.
            KeyRefused: The key is not accepted any more.
        """
        status = await self._ask("account.status", self._signed(omitZeroBalances=True), weights.ACCOUNT_STATUS)
        if status.error is not None:
            self._heed(status)
            log.warning("the account could not be read over its stream: %s %s", status.error.code, status.error.msg)
        subscriptions = await self._ask("session.subscriptions", {}, weights.SUBSCRIPTIONS)
        if subscriptions.status == _OK and subscriptions.result == []:
            raise StreamLost("the subscription is gone")

    def _signed(self, **params: object) -> dict[str, object]:
        return self._key.signed(self._venue.clock.now_us(), params)

    async def _ask(self, method: str, params: dict[str, object], weight: int) -> _Reply:
        """Send a request once its weight may be used, and wait for the reply.

        Raises:
            StreamLost: None came in time, or the connection has ended.
        """
        self._number += 1
        name = f"{method}:{self._number}"
        asked = _Asked(asyncio.get_running_loop().create_future(), await self._venue.weights.reserve(weight))
        self._asked[name] = asked
        request = {"id": name, "method": method} | ({"params": params} if params else {})
        try:
            await send(self._connection, msgspec.json.encode(request))
            async with asyncio.timeout(self._liveness.answer_s):
                return await asked.reply
        except TimeoutError as error:
            raise StreamLost(f"{method} was not answered in {self._liveness.answer_s:.0f} s") from error
        finally:
            del self._asked[name]
            self._venue.weights.release(asked.reservation)

    def _take(self, reply: _Reply) -> None:
        asked = self._asked.get(str(reply.id))
        if asked is None:
            return
        for limit in reply.rate_limits:
            if limit.kind == "REQUEST_WEIGHT":
                self._venue.weights.learn(asked.reservation, limit.count)
        if not asked.reply.done():
            asked.reply.set_result(reply)

    def _require(self, reply: _Reply) -> None:
        """Raise unless the request was accepted."""
        if reply.status == _OK:
            return
        failure = reply.error or _Failure(msg="no reason given")
        wait_s = self._heed(reply)
        raise StreamLost(f"the subscription was refused ({reply.status}): {failure.code} {failure.msg}", wait_s)

    def _heed(self, reply: _Reply) -> float:
        """Do what a refusal asks for; returns how long the exchange wants to be left alone.

        Raises:
            KeyRefused: The key is not accepted.
        """
        failure = reply.error or _Failure()
        if failure.code in KEY_ERRORS:
            raise key_refused(failure.code, failure.msg)
        if failure.code == CLOCK_ERROR:
            self._venue.clock.doubt()
        if reply.status not in TOO_MANY_REQUESTS:
            return 0.0
        wait_s = _retry_after_s(failure.data or {}, self._venue.clock.now_us())
        self._venue.weights.block(wait_s)
        return wait_s


@asynccontextmanager
async def open_user_stream(
    url: str, key: SigningKey, venue: Venue, liveness: Liveness | None = None
) -> AsyncIterator[UserStream]:
    """Connect and subscribe to the events of the account of a key; times come in microseconds.

    Args:
        url: Address of the WebSocket API.
        key: The account's key.
        venue: Clock and budgets of the exchange.
        liveness: When it is taken for dead.

    Raises:
        KeyRefused: The key is not accepted.
        StreamLost: There is no connection or no subscription.
    """
    separator = "&" if "?" in url else "?"
    async with AsyncExitStack() as stack:
        async with venue.connections.hold(1), venue.weights.hold(weights.CONNECT):
            try:
                connection = await stack.enter_async_context(open_connection(f"{url}{separator}timeUnit=MICROSECOND"))
            except StreamLost as error:
                venue.weights.block(error.retry_after_s)
                raise
        stream = UserStream(connection, key, venue, liveness or Liveness())
        tasks = [asyncio.create_task(stream.read())]
        try:
            await stream.subscribe()
            tasks.append(asyncio.create_task(stream.watch()))
            yield stream
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _read(frame: str | bytes) -> _Reply | None:
    try:
        return _replies.decode(frame)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return None


def _retry_after_s(data: dict[str, Any], now_us: int) -> float:
    """Seconds until `retryAfter`, an epoch in milliseconds; by the clock that the refusal itself shows, if it does."""
    until_ms, now_ms = data.get("retryAfter"), data.get("serverTime", now_us / 1_000)
    if not isinstance(until_ms, int | float) or not isinstance(now_ms, int | float):
        return _RETRY_AFTER_DEFAULT_S
    return min(_RETRY_AFTER_MAX_S, max(0.0, (epoch_us(int(until_ms)) - epoch_us(int(now_ms))) / 1_000_000))
