"""Clients of a running exchange: python-binance with local addresses, and a plain WebSocket API connection."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from binance import AsyncClient
from websockets.asyncio.client import ClientConnection, connect


@asynccontextmanager
async def local_client(url: str, key: str = "demo-key", secret: str = "demo-secret", **more: Any) -> AsyncIterator[Any]:
    class LocalClient(AsyncClient):  # type: ignore[misc] # python-binance has no types
        API_URL = f"{url}/api"
        MARGIN_API_URL = f"{url}/sapi"

    client = LocalClient(key, secret, **more)
    try:
        yield client
    finally:
        await client.close_connection()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def signed(secret: str = "demo-secret", **parameters: object) -> dict[str, object]:
    parameters.setdefault("timestamp", now_ms())
    payload = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
    return parameters | {"signature": hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()}


async def ask(socket: ClientConnection, method: str, **params: object) -> dict[str, Any]:
    await socket.send(json.dumps({"id": method, "method": method, "params": params}))
    while True:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 30))
        if message.get("id") == method:
            return message


async def next_event(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 30))
    event: dict[str, Any] = message["event"]
    return event


@asynccontextmanager
async def user_stream(url: str, key: str = "demo-key", secret: str = "demo-secret") -> AsyncIterator[ClientConnection]:
    async with connect(f"{url.replace('http', 'ws')}/ws-api/v3", close_timeout=0.2) as socket:
        reply = await ask(socket, "userDataStream.subscribe.signature", **signed(secret, apiKey=key))
        assert reply["status"] == 200
        yield socket
