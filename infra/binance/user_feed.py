"""The user data of an account over one connection after another, without a gap in between: make before break.

A connection lives a day at most, and says `serverShutdown` when it ends earlier. Then another one is subscribed while
the old one still tells. Both tell the same from there on; what only the new one tells waits until the old one has
told everything that came before it:

- an event that both have told is the seam: each connection keeps its order, so the old one has told all that was
  before it, and the new one has, or will have, all that is after it;
- when nothing happens, the answer to a ping of the old one, and a moment of quiet behind it, are the seam.

Where neither is found, or the old one ends before, events may be missing, and the feed ends: what was missed is then
read over REST.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from enum import StrEnum
from typing import NamedTuple

import msgspec

from infra.backoff import backoff_s
from infra.binance.errors import StreamLost
from infra.binance.rest import BinanceRest
from infra.binance.user_stream import Liveness, UserStream, open_user_stream

log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.25
_BACKOFF_MAX_S = 30.0
_QUIET_S = 1.0
_SEAM_WITHIN_S = 5.0
_ECHO_S = 10.0
_LOOK_EVERY_S = 0.02
_YOUNGER_AT_MOST = 0.1


class _Name(StrEnum):
    """The events that are about the connection itself."""

    SHUTDOWN = "serverShutdown"
    TERMINATED = "eventStreamTerminated"


class _Head(msgspec.Struct):
    e: str = ""


class _Frame(msgspec.Struct):
    event: msgspec.Raw


_frames = msgspec.json.Decoder(_Frame)
_heads = msgspec.json.Decoder(_Head)


class _Connected(NamedTuple):
    """A connection, and what closes it."""

    stream: UserStream
    stack: AsyncExitStack


class UserFeed:
    """The events of an account, whatever connection they come by; made by `open_user_feed`."""

    def __init__(
        self, url: str, rest: BinanceRest, age_max_s: float, liveness: Liveness, on_handover: Callable[[], None]
    ) -> None:
        self._url = url
        self._rest = rest
        self._age_max_s = age_max_s
        self._liveness = liveness
        self._on_handover = on_handover
        self._current: _Connected | None = None
        self._echoes: Counter[bytes] = Counter()
        self._echoes_until_s = 0.0
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect and subscribe.

        Raises:
            KeyRefused: The key is not accepted.
            StreamLost: There is no connection or no subscription.
        """
        self._current = await self._connect()

    async def close(self) -> None:
        """Close every connection."""
        if self._current is not None:
            self._close(self._current)
            self._current = None
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def frames(self) -> AsyncGenerator[str | bytes, None]:
        """The frames of all events, in their order; what is about the connection alone is not among them.

        Raises:
            StreamLost: Events may have been missed.
            KeyRefused: The key is not accepted any more.
        """
        while True:
            current = self._require_current()
            loop = asyncio.get_running_loop()
            age_max_s = self._age_max_s * random.uniform(1 - _YOUNGER_AT_MOST, 1)  # noqa: S311 - accounts take turns
            due_s = loop.time() + age_max_s
            while (left_s := due_s - loop.time()) > 0:
                try:
                    async with asyncio.timeout(left_s):
                        frame = await current.stream.next_frame()
                except TimeoutError:
                    break
                match _name_of(frame):
                    case _Name.SHUTDOWN:
                        log.info("the exchange is about to end the connection: another one takes over")
                        break
                    case _Name.TERMINATED:
                        raise StreamLost("the exchange has ended the subscription")
                    case _ if not self._is_echo(frame):
                        yield frame
            async with aclosing(self._hand_over(current)) as frames:
                async for frame in frames:
                    yield frame

    async def _hand_over(self, old: _Connected) -> AsyncGenerator[str | bytes, None]:
        """Subscribe anew, and find the seam."""
        seam = _Seam(old.stream)
        opening = asyncio.create_task(self._connect_until_done())
        try:
            async with aclosing(seam.while_opening(opening)) as frames:
                async for frame in frames:
                    yield frame
            new = await opening
        except BaseException:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            if not opening.cancelled() and opening.exception() is None:
                self._close(opening.result())
            raise
        self._current = new
        try:
            async with aclosing(seam.until_found(new.stream)) as frames:
                async for frame in frames:
                    yield frame
        finally:
            self._close(old)
        self._on_handover()
        self._echoes, self._echoes_until_s = seam.told, asyncio.get_running_loop().time() + _ECHO_S
        for frame in seam.held:
            if not self._is_echo(frame):
                yield frame

    async def _connect_until_done(self) -> _Connected:
        attempt = 0
        while True:
            try:
                return await self._connect()
            except StreamLost as error:
                wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
                wait_s = max(wait_s, error.retry_after_s)
                log.warning("no second connection yet (%s); next attempt in %.1f s", error, wait_s)
                attempt += 1
                await asyncio.sleep(wait_s)

    async def _connect(self) -> _Connected:
        key, venue = self._rest.key, self._rest.venue
        if key is None:
            raise ValueError("user data need a key")
        if venue.clock.is_due:
            await self._rest.measure_clock()
        stack = AsyncExitStack()
        return _Connected(
            await stack.enter_async_context(open_user_stream(self._url, key, venue, self._liveness)), stack
        )

    def _close(self, connected: _Connected) -> None:
        task = asyncio.create_task(connected.stack.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _require_current(self) -> _Connected:
        if self._current is None:
            raise StreamLost("the feed is closed")
        return self._current

    def _is_echo(self, frame: str | bytes) -> bool:
        """Whether the connection before has told this event already."""
        if not self._echoes:
            return False
        if asyncio.get_running_loop().time() > self._echoes_until_s:
            self._echoes.clear()
            return False
        event = _event_of(frame)
        if not self._echoes[event]:
            return False
        self._echoes[event] -= 1
        return True


class _Seam:
    """Where one connection goes over into the next.

    Attributes:
        told: The events that the old one has told since it was sought, and how often each.
        held: What the new one has told meanwhile.
    """

    def __init__(self, old: UserStream) -> None:
        self.told: Counter[bytes] = Counter()
        self.held: list[str | bytes] = []
        self._old = old
        self._is_drained = False

    async def while_opening(self, opening: asyncio.Task[_Connected]) -> AsyncGenerator[str | bytes, None]:
        """What the old one tells until the new one is subscribed.

        Raises:
            StreamLost: The old one has ended before.
        """
        while not opening.done():
            frame = await self._next_of_old()
            if frame is not None:
                yield frame

    async def until_found(self, new: UserStream) -> AsyncGenerator[str | bytes, None]:
        """What the old one tells until it has told all that the new one does not.

        Raises:
            StreamLost: No seam was found.
        """
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        marker = asyncio.create_task(self._old.ping())
        holding = asyncio.create_task(self._hold(new))
        try:
            while not self._is_found(marker, loop.time() - started_s):
                if holding.done():
                    holding.result()
                if loop.time() - started_s > _SEAM_WITHIN_S:
                    raise StreamLost("two connections do not tell the same")
                try:
                    frame = await self._next_of_old()
                except StreamLost:
                    self._is_drained = True
                    if self._is_found(marker, _QUIET_S):
                        return
                    raise
                if frame is not None:
                    yield frame
        finally:
            for task in (marker, holding):
                task.cancel()
            await asyncio.gather(marker, holding, return_exceptions=True)

    def _is_found(self, marker: asyncio.Task[None], quiet_s: float) -> bool:
        if self.held:
            return self.told[_event_of(self.held[0])] > 0
        is_answered = marker.done() and not marker.cancelled() and marker.exception() is None
        return is_answered and self._is_drained and quiet_s >= _QUIET_S

    async def _next_of_old(self) -> str | bytes | None:
        """What the old one tells next; None when it tells nothing for a moment, or what is about itself."""
        try:
            async with asyncio.timeout(_LOOK_EVERY_S):
                frame = await self._old.next_frame()
        except TimeoutError:
            self._is_drained = True
            return None
        self._is_drained = False
        match _name_of(frame):
            case _Name.SHUTDOWN:
                return None
            case _Name.TERMINATED:
                raise StreamLost("the exchange has ended the subscription")
            case _:
                self.told[_event_of(frame)] += 1
                return frame

    async def _hold(self, new: UserStream) -> None:
        while True:
            frame = await new.next_frame()
            if _name_of(frame) in set(_Name):
                raise StreamLost("the new connection has ended at once")
            self.held.append(frame)


@asynccontextmanager
async def open_user_feed(
    url: str,
    rest: BinanceRest,
    *,
    age_max_s: float,
    on_handover: Callable[[], None] = lambda: None,
    liveness: Liveness | None = None,
) -> AsyncIterator[UserFeed]:
    """Subscribe to the events of the account of a client, and stay subscribed.

    Args:
        url: Address of the WebSocket API.
        rest: A client with the account's key; clock and budgets are its venue's.
        age_max_s: Age at which a connection is replaced, or up to a tenth earlier.
        on_handover: Called when a connection has taken over from another without a gap.
        liveness: When a connection is taken for dead.

    Raises:
        KeyRefused: The key is not accepted.
        StreamLost: There is no connection or no subscription.
    """
    feed = UserFeed(url, rest, age_max_s, liveness or Liveness(), on_handover)
    await feed.open()
    try:
        yield feed
    finally:
        await feed.close()


def _event_of(frame: str | bytes) -> bytes:
    """The event in a frame, by which two connections are compared; the frame where it holds none."""
    try:
        return bytes(_frames.decode(frame).event)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return frame.encode() if isinstance(frame, str) else frame


def _name_of(frame: str | bytes) -> str:
    try:
        return _heads.decode(_event_of(frame)).e
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return ""
