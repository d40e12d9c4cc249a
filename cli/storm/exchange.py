"""The exchange as its operator sees it: its books, its faults, orders past all limits."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

_TIMEOUT_S = 60.0
_REFUSED = 400


class Operator:
    """Plays the operator of the simulated exchange. No real exchange has these routes."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def list_symbol(self, symbol: str) -> None:
        """Let a symbol trade."""
        await self._post("symbols", {"symbol": symbol, "status": "TRADING"})

    async def halt_symbol(self, symbol: str) -> None:
        """Let a symbol trade no more: what rests is not filled, and nothing moves while books are compared."""
        await self._post("symbols", {"symbol": symbol, "status": "HALT"})

    async def order(self, account: str, orders: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
        """Place orders; an answer with `code` is a refusal."""
        answers: list[dict[str, Any]] = await self._post("orders", {"account": account, "orders": list(orders)})
        return answers

    async def move(self, name: str, **details: object) -> dict[str, Any]:
        """Let an operation happen; empty when the account has too little for it."""
        answer = await self._http.post(f"/operator/{name}", json=details)
        if answer.status_code == _REFUSED:
            return {}
        answer.raise_for_status()
        operation: dict[str, Any] = answer.json()
        return operation

    async def follow(self, plan: dict[str, object]) -> None:
        """Start a plan of faults."""
        await self._post("faults/plan", plan)

    async def faults(self) -> dict[str, int]:
        """How often faults of each kind have struck."""
        counts: dict[str, int] = (await self._get("faults"))["counts"]
        return counts

    async def heal(self) -> None:
        """End every fault that can be ended."""
        (await self._http.delete("/operator/faults")).raise_for_status()

    async def books(self, account: str) -> dict[str, Any]:
        """All that an account holds and did."""
        books: dict[str, Any] = (await self._get("books", account=account))["accounts"][account]
        return books

    async def limits(self) -> dict[str, dict[str, Any]]:
        """The weights that were used, by kind of limit and by address or account."""
        limits: dict[str, dict[str, Any]] = await self._get("limits")
        return limits

    async def _get(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - JSON
        answer = await self._http.get(f"/operator/{path}", params=parameters)
        answer.raise_for_status()
        return json.loads(answer.content)

    async def _post(self, path: str, body: dict[str, object]) -> Any:  # noqa: ANN401 - JSON
        answer = await self._http.post(f"/operator/{path}", json=body)
        answer.raise_for_status()
        return json.loads(answer.content)


@asynccontextmanager
async def operator_of(port: int) -> AsyncIterator[Operator]:
    """The operator of the simulated exchange on a port of this machine."""
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, trust_env=False) as http:
        yield Operator(http)
