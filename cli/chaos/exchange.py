"""Orders on the simulated exchange, and its own books. No real exchange has these routes."""

import hashlib
import hmac
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import httpx

from infra.portfolio_file import simulated_key

_ORDERS = (("BTCUSDT", Decimal("0.0012")), ("ETHUSDT", Decimal("0.02")), ("ETHBTC", Decimal("0.01")))
_STEPS_MAX = 6
_CLOCK_JUMP_MAX_MS = 15_000
_FLOWS: tuple[tuple[str, dict[str, str]], ...] = (
    ("deposit", {"asset": "USDT", "amount": "250"}),
    ("deposit", {"asset": "BTC", "amount": "0.0031"}),
    ("withdraw", {"asset": "USDT", "amount": "120", "fee": "1"}),
    ("withdraw", {"asset": "ETH", "amount": "0.05", "fee": "0.0004"}),
    ("airdrop", {"asset": "BNB", "amount": "0.0125"}),
    ("rebate", {"asset": "USDT", "amount": "0.37"}),
)


class ExchangeClient:
    """Trades for the accounts and plays the operator.

    While the exchange is away nothing is traded: what it did not answer may have been done, and its books tell.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def order(self, account: str, dice: random.Random) -> int:
        """Place a random market order.

        Returns:
            Number of fills that it was told of; 0 when the exchange refused it, for example because the balance does
            not allow it, or did not answer.
        """
        symbol, step = dice.choice(_ORDERS)
        parameters = {
            "symbol": symbol,
            "side": dice.choice(("BUY", "SELL")),
            "type": "MARKET",
            "quantity": str(step * dice.randint(1, _STEPS_MAX)),
            # Wherever the exchange's clock has jumped to, this is in the past there, and not too far.
            "timestamp": str(time.time_ns() // 1_000_000 - _CLOCK_JUMP_MAX_MS),
            "recvWindow": "50000",
        }
        key = simulated_key(account)
        secret = key.secret.get_secret_value().encode()
        signature = hmac.new(secret, urlencode(parameters).encode(), hashlib.sha256).hexdigest()
        headers = {"X-MBX-APIKEY": key.key.get_secret_value()}
        try:
            answer = await self._http.post(
                "/api/v3/order", params={**parameters, "signature": signature}, headers=headers
            )
        except httpx.TransportError:
            return 0
        return len(answer.json()["fills"]) if answer.is_success else 0

    async def move(self, account: str, dice: random.Random) -> None:
        """Let something happen to an account that is no trade: a deposit, a withdrawal, an airdrop, a rebate."""
        name, details = dice.choice(_FLOWS)
        try:
            answer = await self._http.post(f"/operator/{name}", json={"account": account, **details})
        except httpx.TransportError:
            return
        if answer.status_code != HTTPStatus.BAD_REQUEST:  # the account has too little
            answer.raise_for_status()

    async def answers(self) -> bool:
        """Whether the exchange answers."""
        try:
            return (await self._http.get("/api/v3/ping")).is_success
        except httpx.TransportError:
            return False

    async def disconnect(self) -> None:
        """Close every user data stream, as the operator."""
        (await self._http.post("/operator/disconnect")).raise_for_status()

    async def silence(self) -> None:
        """Let every user data stream fall silent for ever, without closing it."""
        (await self._http.post("/operator/faults", json={"kind": "silence", "target": "user"})).raise_for_status()

    async def jump(self, seconds: float) -> None:
        """Let the exchange's clock jump."""
        answer = await self._http.post("/operator/faults", json={"kind": "clock-jump", "seconds": seconds})
        answer.raise_for_status()

    async def heal(self) -> None:
        """Set the exchange's clock right."""
        (await self._http.delete("/operator/faults")).raise_for_status()

    async def books(self, account: str) -> dict[str, Any]:
        """Balances, trades and flows of an account as the exchange has them."""
        answer = await self._http.get("/operator/books", params={"account": account}, timeout=60)
        answer.raise_for_status()
        books: dict[str, Any] = answer.json()["accounts"][account]
        return books


@asynccontextmanager
async def exchange_client(port: int) -> AsyncIterator[ExchangeClient]:
    """A client of the simulated exchange on a port of this machine."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as http:
        yield ExchangeClient(http)
