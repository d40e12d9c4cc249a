"""The client of `portfolio load`: holds streams, asks at a steady rate, and measures."""

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from infra.errors import RemediableError

ROUTES: Final = (
    "/portfolio/overview",
    "/portfolio/balances",
    "/portfolio/positions?status=open",
    "/portfolio/pnl-by-symbol",
    "/portfolio/trade-history?limit=50",
    "/portfolio/metrics?period=7d",
    "/portfolio/equity?period=24h",
    "/metrics/performance?period=24h",
    "/portfolio/accounts",
    "/portfolio/fees",
)
"""What the dashboard and bots ask for, in turn."""

_CONNECTIONS_MAX: Final = 256
_FILES_SPARE: Final = 128
_TIMEOUT_S: Final = 30.0
_GRACE_S: Final = 5.0
"""How far the requests may fall behind before those that are left are given up."""
_OPENING_S: Final = 60.0
_OPENING_AT_ONCE: Final = 50
_OK: Final = (200, 304)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to the API.

    Attributes:
        key: Sent with every request; None: none is.
        streams: How many are held.
        rate: Requests a second.
        seconds: How long.
    """

    url: str
    key: str | None
    streams: int
    rate: int
    seconds: float


@dataclass(slots=True)
class _Seen:
    latencies_s: dict[str, list[float]] = field(default_factory=lambda: {route: [] for route in ROUTES})
    delays_s: list[float] = field(default_factory=list)
    messages: int = 0
    held: int = 0
    errors: Counter[str] = field(default_factory=Counter)


async def put_under_load(plan: Plan) -> dict[str, Any]:
    """Do it, and tell what was seen: counts, errors, and percentiles in milliseconds.

    Raises:
        RemediableError: The API cannot be reached, does not accept the key, or more files are needed than allowed.
    """
    _allow_files(plan.streams + _CONNECTIONS_MAX + _FILES_SPARE)
    seen = _Seen()
    headers = {} if plan.key is None else {"Authorization": f"Bearer {plan.key}"}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S)
    async with aiohttp.ClientSession(plan.url, headers=headers, connector=connector, timeout=timeout) as session:
        await _require_answer(session, plan.url)
        holding = await _open_streams(session, plan.streams, seen)
        began_s = time.perf_counter()
        await _ask(session, plan, seen)
        await asyncio.sleep(max(0.0, plan.seconds - (time.perf_counter() - began_s)))
        took_s = time.perf_counter() - began_s
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)
    return _report(plan, seen, took_s)


def _allow_files(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise RemediableError(
            f"{needed} files must be open at once, and {hard} may be", "Ask for fewer --streams, or raise `ulimit -Hn`"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def _require_answer(session: aiohttp.ClientSession, url: str) -> None:
    try:
        async with session.get(ROUTES[0]) as answer:
            if answer.status not in _OK:
                raise RemediableError(
                    f"{url} answers {answer.status}: {(await answer.text())[:200]}",
                    "Send a key that may see it (--key-env), and look at /health/ready",
                )
    except (aiohttp.ClientError, OSError) as error:
        raise RemediableError(
            f"{url} cannot be reached: {error}", "Start it: `portfolio up`; or name it: --url"
        ) from error


async def _open_streams(session: aiohttp.ClientSession, count: int, seen: _Seen) -> list[asyncio.Task[None]]:
    """Open the streams and go on reading them; returns when each has said hello."""
    opening = asyncio.Semaphore(_OPENING_AT_ONCE)
    opened = [asyncio.Event() for _ in range(count)]
    tasks = [asyncio.create_task(_hold(session, seen, opening, each)) for each in opened]
    try:
        async with asyncio.timeout(_OPENING_S):
            await asyncio.gather(*(each.wait() for each in opened))
    except TimeoutError:
        seen.errors[f"a stream was not open within {_OPENING_S:.0f} s"] += sum(not each.is_set() for each in opened)
    return tasks


async def _hold(session: aiohttp.ClientSession, seen: _Seen, opening: asyncio.Semaphore, opened: asyncio.Event) -> None:
    try:
        await opening.acquire()
        async with session.get("/portfolio/stream") as answer:
            if answer.status not in _OK:
                seen.errors[f"a stream was answered {answer.status}"] += 1
                return
            is_open = False
            async for line in answer.content:
                if not is_open and line.startswith(b"event: hello"):
                    is_open = True
                    seen.held += 1
                    opened.set()
                    opening.release()
                elif line.startswith(b"id: "):
                    seen.messages += 1
                    seen.delays_s.append(time.time() - int(line[4:].partition(b"-")[0]) / 1_000)
                elif line.startswith((b"event: gap", b"event: degraded")):
                    seen.errors[f"a stream said {line[7:].decode().strip()}"] += 1
        seen.errors["a stream ended"] += 1
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        seen.errors[f"a stream broke: {type(error).__name__}"] += 1
    finally:
        if not opened.is_set():
            opened.set()
            opening.release()


async def _ask(session: aiohttp.ClientSession, plan: Plan, seen: _Seen) -> None:
    """Ask at a steady rate. Each client takes the next request that is due; when all wait for answers, it is late."""
    total = round(plan.rate * plan.seconds)
    began_s = time.perf_counter()
    numbers = iter(range(total))

    async def client() -> None:
        for number in numbers:
            due_s = began_s + number / plan.rate
            if time.perf_counter() > began_s + plan.seconds + _GRACE_S:
                seen.errors["a request could not be sent in time"] += 1
                continue
            if (wait_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            await _ask_once(session, ROUTES[number % len(ROUTES)], due_s, seen)

    await asyncio.gather(*(client() for _ in range(min(_CONNECTIONS_MAX, total))))


async def _ask_once(session: aiohttp.ClientSession, route: str, due_s: float, seen: _Seen) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_S), session.get(route) as answer:
            await answer.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        seen.errors[f"{route}: {type(error).__name__}"] += 1
        return
    seen.latencies_s[route].append(time.perf_counter() - due_s)
    if answer.status not in _OK:
        seen.errors[f"{route}: {answer.status}"] += 1


def _report(plan: Plan, seen: _Seen, took_s: float) -> dict[str, Any]:
    every = [latency for latencies in seen.latencies_s.values() for latency in latencies]
    return {
        "errors": seen.errors.total(),
        "error_kinds": dict(seen.errors.most_common()),
        "seconds": round(took_s, 2),
        "requests": {"asked_per_second": plan.rate, "per_second": round(len(every) / took_s, 1), **_spread(every)},
        "streams": {
            "asked": plan.streams,
            "held": seen.held,
            "messages": seen.messages,
            "delay_ms": _spread(seen.delays_s),
        },
        "routes": {route: _spread(latencies) for route, latencies in seen.latencies_s.items()},
    }


def _spread(values_s: Sequence[float]) -> dict[str, float | int | None]:
    ordered = sorted(values_s)
    told: dict[str, float | int | None] = {"count": len(ordered)}
    for name, percent in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99), ("max", 100)):
        # The smallest value that this share of all does not exceed.
        place = max(0, -(-len(ordered) * percent // 100) - 1)
        told[name] = round(ordered[place] * 1_000, 1) if ordered else None
    return told
