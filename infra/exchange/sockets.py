"""A WebSocket connection of a client: an outgoing queue, ping frames every 20 s, closed when no pong comes.

Both kinds of socket, the WebSocket API and the market streams, behave alike in this.
"""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
from aiohttp import WSMsgType, web

_PING_EVERY_S = 20.0
_PONG_WITHIN_S = 60.0
# A client that leaves so many messages unread is cut off; Binance disconnects slow readers too.
_QUEUE_LENGTH = 50_000


class ClientSocket:
    """One connection. `send` never waits; `run` returns when the connection is over.

    Args:
        request: The upgrade request.
        ping_every_s: Time between ping frames.
        pong_within_s: How old the last pong may be.
    """

    def __init__(
        self, request: web.Request, *, ping_every_s: float = _PING_EVERY_S, pong_within_s: float = _PONG_WITHIN_S
    ) -> None:
        self._request = request
        self._socket = web.WebSocketResponse(autoping=False)
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE_LENGTH)
        self._ping_every_s = ping_every_s
        self._pong_within_s = pong_within_s
        self._last_pong_s = time.monotonic()
        self._silent_until_s = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether the connection is half open: it stays, and nothing passes."""
        return time.monotonic() < self._silent_until_s

    def fall_silent(self, seconds: float | None) -> None:
        """Let nothing pass any more, in neither direction, pings and pongs included; unset, for ever."""
        self._silent_until_s = math.inf if seconds is None else time.monotonic() + seconds

    def send(self, message: object) -> None:
        """Queue a message as JSON."""
        self.send_encoded(msgspec.json.encode(message))

    def send_encoded(self, message: bytes) -> None:
        """Queue a message that is JSON already."""
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self.abort()

    def abort(self) -> None:
        """Cut the connection without a closing handshake, as a broken network does."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def close(self) -> None:
        """End the connection with a closing handshake."""
        await self._socket.close()

    async def run(self, on_text: Callable[[str], None]) -> web.WebSocketResponse:
        """Serve the connection until it ends; `on_text` gets each text frame."""
        await self._socket.prepare(self._request)
        tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._ping())]
        try:
            async for message in self._socket:
                if self.is_silent:
                    continue
                if message.type is WSMsgType.TEXT:
                    on_text(message.data)
                elif message.type is WSMsgType.PING:
                    await self._socket.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    self._last_pong_s = time.monotonic()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self._socket

    async def _write(self) -> None:
        with suppress(ConnectionError):
            while True:
                message = await self._queue.get()
                if not self.is_silent:
                    await self._socket.send_str(message.decode())

    async def _ping(self) -> None:
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(self._ping_every_s)
                if self.is_silent:
                    # The pongs are not heard, and a half-open connection is not cut by this end.
                    self._last_pong_s = time.monotonic()
                    continue
                if time.monotonic() - self._last_pong_s > self._pong_within_s:
                    self.abort()
                await self._socket.ping(str(time.time_ns() // 1_000_000).encode())
