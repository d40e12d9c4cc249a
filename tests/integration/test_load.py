"""`portfolio load` against a real server with moving books."""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psutil
import pytest

from infra.postgres.migrate import migrate
from infra.postgres.writer import Writer
from infra.redis.live import LiveEntry, LiveFeed
from streams.live import LiveTeller
from tests.integration.test_api import LIVE_US, store
from tests.integration.test_api_process import answer, api, free_port
from tests.integration.test_api_stream import listening
from tests.support.journal import sample_account

pytestmark = pytest.mark.integration

BUSY_PERCENT_MAX = 35.0


async def load(*options: str) -> tuple[int, Any, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "load", "--json", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, json.loads(output or b"null"), errors.decode()


@asynccontextmanager
async def moving_books(database_url: str, redis_url: str, *, every_s: float) -> AsyncIterator[None]:
    """Books at new prices again and again, as a worker stores and tells them."""
    await migrate(database_url)
    journal, updates = sample_account()
    await store(database_url, updates)
    teller = LiveTeller(redis_url)

    async def move() -> None:
        async with Writer(database_url) as writer:
            for number in itertools.count():
                snapshot = journal.marked(LIVE_US + number, BTC=str(60_000 + number), ETH="3000", BNB="600")
                await writer.write([], [snapshot])
                await teller.tell([], [snapshot])
                await asyncio.sleep(every_s)

    moving = asyncio.create_task(move())
    try:
        yield
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
        await teller.close()


async def test_streams_and_requests_hold_while_the_books_move(database_url: str, redis_url: str) -> None:
    async with moving_books(database_url, redis_url, every_s=0.25), listening(database_url, redis_url) as address:
        code, told, errors = await load(
            *("--url", f"http://{address}", "--streams", "20", "--rate", "50", "--seconds", "3")
        )
    assert code == 0, (told, errors)
    assert told["errors"] == 0
    assert told["requests"]["count"] == 150
    assert sum(route["count"] for route in told["routes"].values()) == 150
    assert told["streams"]["held"] == 20
    assert told["streams"]["messages"] >= 20
    assert told["requests"]["p50"] <= told["requests"]["p99"] <= told["requests"]["max"]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_500_streams_and_1000_requests_a_second_hold_for_a_minute(database_url: str, redis_url: str) -> None:
    busy_percent = await asyncio.to_thread(psutil.cpu_percent, 2.0)
    if busy_percent > BUSY_PERCENT_MAX:
        pytest.skip(f"others keep this machine busy ({busy_percent:.0f} %), and it is the service that is measured")
    port = free_port()
    servers = {"DATABASE_URL": database_url, "DATABASE_READ_URL": database_url, "REDIS_URL": redis_url}
    async with (
        moving_books(database_url, redis_url, every_s=1.0),
        api("--port", str(port), **servers),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await answer(client, "/health/live")).status_code == 200
        code, told, errors = await load(
            *("--url", f"http://127.0.0.1:{port}", "--streams", "500", "--rate", "1000", "--seconds", "60")
        )
    assert code == 0, (told, errors)
    assert told["requests"]["count"] == 60_000
    assert told["streams"]["held"] == 500
    # Something is told each second, and by a machine in a hurry not much less often.
    assert told["streams"]["messages"] >= 500 * 20


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_readers_that_never_read_cost_no_more_the_longer_they_stay(
    database_url: str, redis_url: str, measured: Callable[[str], None]
) -> None:
    await migrate(database_url)
    port = free_port()
    feed = LiveFeed(redis_url)
    trades = [LiveEntry(id="", topic="trades", account="main", key="", data=b'"' + b"x" * 3_000 + b'"')] * 3_000
    servers = {"DATABASE_URL": database_url, "DATABASE_READ_URL": database_url, "REDIS_URL": redis_url}
    async with (
        api("--port", str(port), **servers) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await answer(client, "/health/live")).status_code == 200
        sleepers = [await asyncio.open_connection("127.0.0.1", port, limit=1) for _ in range(200)]
        for _, writer in sleepers:
            writer.write(b"GET /portfolio/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        memory = psutil.Process(process.pid)
        mebibytes = []
        async with client.stream("GET", "/portfolio/stream", timeout=60) as awake:
            lines = awake.aiter_lines()
            await anext(lines)
            for _ in range(8):
                await feed.add(trades)
                seen = 0
                while seen < len(trades):
                    seen += (await anext(lines)).startswith("event: trades")
                mebibytes.append(memory.memory_info().rss / 2**20)
        for _, writer in sleepers:
            writer.close()
    await feed.close()
    measured(
        f"API with 200 readers that never read, after each 3,000 messages of 3 kB: {[round(m) for m in mebibytes]} MiB"
    )
    assert mebibytes[-1] - mebibytes[3] < 20


async def test_what_fails_is_counted_and_ends_with_an_error(redis_url: str) -> None:
    code, told, errors = await load("--url", "http://127.0.0.1:1", "--seconds", "1")
    assert (code, told) == (1, None)
    assert "cannot be reached" in errors
    async with listening("postgresql://nobody@127.0.0.1:1/none", redis_url) as address:
        code, _, errors = await load("--url", f"http://{address}", "--streams", "1", "--rate", "5", "--seconds", "1")
    assert code == 1
    assert "503" in errors
