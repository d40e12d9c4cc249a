"""One WebSocket connection that knows when it is dead."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from infra.binance.errors import StreamLost

_OPEN_TIMEOUT_S = 10.0
_PING_INTERVAL_S = 15.0
_PING_TIMEOUT_S = 10.0
_FRAME_BYTES_MAX = 8 * 1024 * 1024


@asynccontextmanager
async def open_connection(url: str) -> AsyncIterator[ClientConnection]:
    """Connect, and close at the end; a peer that stops answering pings ends the connection.

    Raises:
        StreamLost: There is no connection.
    """
    try:
        connection = await connect(
            url,
            open_timeout=_OPEN_TIMEOUT_S,
            ping_interval=_PING_INTERVAL_S,
            ping_timeout=_PING_TIMEOUT_S,
            close_timeout=0.5,
            max_size=_FRAME_BYTES_MAX,
        )
    except InvalidStatus as error:
        retry_after = error.response.headers.get("Retry-After", "0")
        raise StreamLost(str(error), float(retry_after) if retry_after.isdigit() else 0.0) from error
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
        raise StreamLost(f"no connection to {url}: {error}") from error
    try:
        yield connection
    finally:
        await connection.close()


async def receive(connection: ClientConnection, timeout_s: float | None = None) -> str | bytes:
    """The next frame.

    Raises:
        TimeoutError: None came in time.
        StreamLost: The connection has ended.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await connection.recv()
    except WebSocketException as error:
        raise StreamLost(str(error)) from error


async def send(connection: ClientConnection, frame: bytes) -> None:
    """Send a text frame.

    Raises:
        StreamLost: The connection has ended.
    """
    try:
        await connection.send(frame, text=True)
    except WebSocketException as error:
        raise StreamLost(str(error)) from error
