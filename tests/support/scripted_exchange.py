"""A server that answers Binance's REST requests from a script, also wrongly."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from infra.binance.prices import DAY_MS
from infra.binance.rest import BinanceRest

Answer = tuple[int, object] | tuple[int, object, dict[str, str]]


class ScriptedExchange:
    """Answers each path from a script; the last answer of a script repeats."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.scripts: dict[str, list[Answer] | Callable[[web.Request], object]] = {
            "time": lambda _request: {"serverTime": time.time_ns() // 1_000}
        }

    async def handle(self, request: web.Request) -> web.Response:
        name = request.path.removeprefix("/api/v3/")
        self.requests.append(request)
        script = self.scripts.get(name, [(404, {"code": -1, "msg": "It is not in the script."})])
        if callable(script):
            return web.json_response(script(request))
        status, body, *headers = script.pop(0) if len(script) > 1 else script[0]
        return web.json_response(body, status=status, headers=headers[0] if headers else None)

    def count(self, name: str) -> int:
        return sum(request.path == f"/api/v3/{name}" for request in self.requests)


@asynccontextmanager
async def connected(exchange: ScriptedExchange) -> AsyncIterator[BinanceRest]:
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", exchange.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    rest = BinanceRest(rest_url=f"http://127.0.0.1:{port}", api_key="key", secret_key="secret")
    try:
        yield rest
    finally:
        await rest.close()
        await runner.cleanup()


def candles(first_ms: int, last_ms: int) -> Callable[[web.Request], object]:
    """A market with a candle each minute (or day) of a span, whose close is the number of its minute."""

    def answer(request: web.Request) -> object:
        step = DAY_MS if request.query["interval"] == "1d" else 60_000
        start, end = int(request.query.get("startTime", 0)), int(request.query.get("endTime", 10**15))
        limit = int(request.query["limit"])
        opens = [time_ms for time_ms in range(first_ms, last_ms, step) if start <= time_ms <= end]
        chosen = opens[:limit] if "startTime" in request.query else opens[-limit:]
        return [[time_ms * 1_000, "1", "1", "1", str(time_ms // 60_000)] for time_ms in chosen]

    return answer
