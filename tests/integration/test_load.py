"""`portfolio load` against a real server with moving books."""

import asyncio
import json
import sys
from typing import Any

import pytest

from infra.postgres.migrate import migrate
from infra.postgres.writer import Writer
from streams.live import LiveTeller
from tests.integration.test_api import LIVE_US, store
from tests.integration.test_api_stream import listening
from tests.support.journal import sample_account

pytestmark = pytest.mark.integration


async def load(*options: str) -> tuple[int, Any, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "load", "--json", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, json.loads(output or b"null"), errors.decode()


@pytest.mark.slow
async def test_streams_and_requests_hold_while_the_books_move(database_url: str, redis_url: str) -> None:
    await migrate(database_url)
    journal, updates = sample_account()
    await store(database_url, updates)
    teller = LiveTeller(redis_url)

    async def move() -> None:
        async with Writer(database_url) as writer:
            for number in range(1_000_000):
                snapshot = journal.marked(LIVE_US + number, BTC=str(60_000 + number), ETH="3000", BNB="600")
                await writer.write([], [snapshot])
                await teller.tell([], [snapshot])
                await asyncio.sleep(0.25)

    async with listening(database_url, redis_url) as address:
        moving = asyncio.create_task(move())
        code, told, errors = await load(
            *("--url", f"http://{address}", "--streams", "20", "--rate", "50", "--seconds", "3")
        )
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
    await teller.close()
    assert code == 0, (told, errors)
    assert told["errors"] == 0
    assert told["requests"]["count"] == 150
    assert sum(route["count"] for route in told["routes"].values()) == 150
    assert told["streams"]["held"] == 20
    assert told["streams"]["messages"] >= 20
    assert 0 < told["requests"]["p50"] <= told["requests"]["p99"] <= told["requests"]["max"]


async def test_what_fails_is_counted_and_ends_with_an_error(redis_url: str) -> None:
    code, told, errors = await load("--url", "http://127.0.0.1:1", "--seconds", "1")
    assert (code, told) == (1, None)
    assert "cannot be reached" in errors
    async with listening("postgresql://nobody@127.0.0.1:1/none", redis_url) as address:
        code, _, errors = await load("--url", f"http://{address}", "--streams", "1", "--rate", "5", "--seconds", "1")
    assert code == 1
    assert "503" in errors
