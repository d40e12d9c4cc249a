"""Orders on the simulated exchange, and its own books. No real exchange has these routes."""

import hashlib
import hmac
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import httpx

from infra.exchange.app import DEMO_KEY

_ORDERS = (("BTCUSDT", Decimal("0.0012")), ("ETHUSDT", Decimal("0.02")), ("ETHBTC", Decimal("0.01")))
_STEPS_MAX = 6


class ExchangeClient:
    """Trades for the demo account and plays the operator."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def order(self, dice: random.Random) -> int:
        """Place a random market order.

        Returns:
            Number of fills; 0 when the exchange refused it, for example because the balance does not allow it.
        """
        symbol, step = dice.choice(_ORDERS)
        parameters = {
            "symbol": symbol,
            "side": dice.choice(("BUY", "SELL")),
            "type": "MARKET",
            "quantity": str(step * dice.randint(1, _STEPS_MAX)),
            "timestamp": str(time.time_ns() // 1_000_000),
        }
        signature = hmac.new(DEMO_KEY.secret.encode(), urlencode(parameters).encode(), hashlib.sha256).hexdigest()
        answer = await self._http.post("/api/v3/order", params={**parameters, "signature": signature})
        return len(answer.json()["fills"]) if answer.is_success else 0

    async def disconnect(self) -> None:
        """Close every user data stream, as the operator."""
        (await self._http.post("/operator/disconnect")).raise_for_status()

    async def books(self) -> dict[str, Any]:
        """Balances and trades as the exchange has them."""
        answer = await self._http.get("/operator/books", params={"account": DEMO_KEY.account}, timeout=60)
        answer.raise_for_status()
        books: dict[str, Any] = answer.json()["accounts"][DEMO_KEY.account]
        return books


@asynccontextmanager
async def exchange_client(port: int) -> AsyncIterator[ExchangeClient]:
    """A client of the simulated exchange on a port of this machine."""
    headers = {"X-MBX-APIKEY": DEMO_KEY.key}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10, trust_env=False
    ) as http:
        yield ExchangeClient(http)
