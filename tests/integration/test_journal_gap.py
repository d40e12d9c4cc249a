"""The sink where the journal was not kept long enough for a Postgres that was away."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from api.app import create_app
from infra.doctor.findings import Verdict
from infra.postgres.migrate import migrate
from infra.settings import Settings
from streams import topics
from streams.account_log import partition_of
from streams.creation import ensure_topics
from streams.doctor import check_journal
from streams.reading import reading
from tests.support.worker import Worker, fill, produce, record, until_done

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

PARTITIONS = 8
PATIENCE_S = 120.0
BUSY, QUIET, ELSEWHERE = "gap2", "quiet4", "elsewhere"
"""Two accounts of one partition, and one of another."""


@pytest.fixture
async def settings(own_brokers: str, database_url: str, redis_url: str) -> Settings:
    settings = Settings(kafka_brokers=own_brokers, database_url=database_url, redis_url=redis_url, _env_file=None)
    await ensure_topics(settings, on_wait=print, timeout_s=30)
    await migrate(database_url)
    return settings


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[Worker]:
    environment = {"DATABASE_URL": settings.database_dsn, "REDIS_URL": settings.redis_dsn}
    running = Worker(settings.brokers, tmp_path / "w1", environment)
    yield running
    running.kill()


@pytest.fixture
async def connection(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.database_dsn)
    yield connection
    await connection.close()


@asynccontextmanager
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


async def portfolio(settings: Settings, *words: str, exit_code: int = 0) -> str:
    """A command as an operator gives it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", *words),
        env=os.environ | {"KAFKA_BROKERS": settings.brokers, "DATABASE_URL": settings.database_dsn},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == exit_code, (output, errors)
    return output.decode()


async def until(condition: Callable[[], Awaitable[object]], worker: Worker) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await condition():
        assert time.monotonic() < deadline, worker.log()[-4_000:]
        await asyncio.sleep(0.3)


async def until_false(condition: Callable[[], Awaitable[bool]], worker: Worker) -> None:
    async def is_over() -> bool:
        return not await condition()

    await until(is_over, worker)


def stored(connection: asyncpg.Connection, **counts: int) -> Callable[[], Awaitable[bool]]:
    """Whether so many fills of accounts are in Postgres."""

    async def ask() -> bool:
        rows = await connection.fetch("SELECT account, count(*) AS number FROM fills GROUP BY account")
        return {row["account"]: row["number"] for row in rows} == counts

    return ask


async def trade(settings: Settings, **numbers: int) -> None:
    await produce(settings.brokers, [(name, record(name, fill(number))) for name, number in numbers.items()])


async def trim_journal(settings: Settings, partition: int, *, kept: int) -> None:
    """What retention does: all but the newest records go."""
    tp = TopicPartition(topics.JOURNAL.name, partition)
    async with reading(settings) as consumer:
        (end,) = (await consumer.end_offsets([tp])).values()
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.brokers)
    await admin.start()
    try:
        await admin.delete_records({tp: RecordsToDelete(before_offset=end - kept)})
    finally:
        await admin.close()


async def test_the_sink_stands_still_before_a_gap_says_so_and_goes_on_after_a_rebuild(
    settings: Settings, worker: Worker, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    """Accounts of other partitions go on; no account is passed over, also not one that has no event any more."""
    home = partition_of(BUSY, PARTITIONS)
    assert partition_of(QUIET, PARTITIONS) == home != partition_of(ELSEWHERE, PARTITIONS)
    await trade(settings, **{BUSY: 1, QUIET: 1, ELSEWHERE: 1})
    worker.start()
    await until(stored(connection, **{BUSY: 1, QUIET: 1, ELSEWHERE: 1}), worker)
    worker.stop(60)

    without_postgres = Worker(settings.brokers, tmp_path / "w1").start()
    try:
        await trade(settings, **{BUSY: 2, QUIET: 2, ELSEWHERE: 2})
        await trade(settings, **{BUSY: 3})
        await until_done(settings.brokers, [without_postgres])
        without_postgres.stop(60)
    finally:
        without_postgres.kill()
    await trim_journal(settings, home, kept=1)

    worker.start()
    await trade(settings, **{BUSY: 4, ELSEWHERE: 3})
    await until(stored(connection, **{BUSY: 1, QUIET: 1, ELSEWHERE: 3}), worker)
    (told,) = [line for line in worker.log().splitlines() if f"journal[{home}] begins at offset" in line]
    assert "CRITICAL" in told
    assert "`portfolio rebuild`" in told
    async with api(settings) as client:

        async def status(account: str) -> Any:
            answer = await client.get("/admin/status", params={"account": account})
            assert answer.status_code == HTTPStatus.OK, answer.text
            return answer.json()

        async def says_what_to_do() -> bool:
            return any("`portfolio rebuild`" in problem for problem in (await status(BUSY))["problems"])

        await until(says_what_to_do, worker)
        assert (await status(BUSY))["sync_status"] == "stale"
        (finding,) = await check_journal(settings)
        assert (finding.verdict, f"[{home}] 2 to " in finding.seen) == (Verdict.FAIL, True), finding

        (rebuilt,) = json.loads(await portfolio(settings, "rebuild", "--account", BUSY, "--json"))
        assert rebuilt["result"] == "completed"
        await until(stored(connection, **{BUSY: 4, QUIET: 1, ELSEWHERE: 3}), worker)
        assert await says_what_to_do(), "one account of the partition still lacks what is gone"

        shown = await portfolio(settings, "rebuild")
        assert f"the sink goes on with partitions {home} of the journal" in shown
        await trade(settings, **{BUSY: 5, QUIET: 3, ELSEWHERE: 4})
        await until(stored(connection, **{BUSY: 5, QUIET: 3, ELSEWHERE: 4}), worker)
        await until_false(says_what_to_do, worker)
    for report in json.loads(await portfolio(settings, "verify", "--offline", "--json")):
        assert report["compared"] == ["tables, up to date", "postgres, up to date", "exchange, not asked"]
    assert [finding.verdict for finding in await check_journal(settings)] == [Verdict.OK]
    assert "the sink goes on" not in await portfolio(settings, "rebuild")
    worker.stop(60)
