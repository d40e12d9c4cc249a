"""Backup and restore of Postgres: what was there comes back, and what came since is written again."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from infra.errors import RemediableError
from infra.postgres.dumps import dump, restore
from infra.postgres.migrate import migrate
from infra.postgres.writer import LogRef, Writer
from infra.settings import Settings
from portfolio.snapshots import LedgerUpdate
from streams import topics
from streams.creation import ensure_topics
from tests.support.journal import sample_account
from tests.support.worker import Worker, assert_equals_pure_fold, fill, produce, record, until_done

pytestmark = pytest.mark.integration

TABLES = ("accounts", "balances", "positions", "fills", "flows", "journal_entries", "symbol_totals", "sink_offsets")


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    await migrate(database_url)
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def everything(connection: asyncpg.Connection) -> dict[str, list[str]]:
    return {
        table: sorted(repr(tuple(row)) for row in await connection.fetch(f"SELECT * FROM {table}")) for table in TABLES
    }


def numbered(updates: list[LedgerUpdate], start: int) -> list[tuple[LogRef, LedgerUpdate]]:
    return [(LogRef(topics.JOURNAL.name, 3, number), update) for number, update in enumerate(updates, start)]


async def test_a_restored_database_asks_for_what_came_since_the_backup(
    database_url: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    _, updates = sample_account()
    middle = len(updates) // 2
    async with Writer(database_url) as writer:
        await writer.write(numbered(list(updates[:middle]), 0))
        then = await everything(connection)
        await asyncio.to_thread(dump, database_url, tmp_path / "backup")
        await writer.write(numbered(list(updates[middle:]), middle))
        now = await everything(connection)
        assert now != then

        await asyncio.to_thread(restore, database_url, tmp_path / "backup")

        assert await everything(connection) == then
        assert await writer.next_offsets(topics.JOURNAL.name) == {3: middle}
        await writer.write(numbered(list(updates[middle:]), middle))
        assert await everything(connection) == now


def test_a_backup_that_cannot_be_made_or_read_changes_nothing(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "no-backup").write_text("hello")
    with pytest.raises(RemediableError, match="pg_restore did not do it"):
        restore(database_url, tmp_path / "no-backup")
    with pytest.raises(RemediableError, match="there is no backup"):
        restore(database_url, tmp_path / "missing")
    with pytest.raises(RemediableError, match="pg_dump did not do it"):
        dump("postgresql://portfolio@127.0.0.1:1/none", tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_running_worker_brings_a_restored_database_up_to_date(
    own_brokers: str, database_url: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    await ensure_topics(Settings(kafka_brokers=own_brokers), on_wait=print, timeout_s=30)
    accounts = [f"backup{number}" for number in range(5)]
    worker = Worker(own_brokers, tmp_path / "w1", {"DATABASE_URL": database_url}).start()
    try:
        await produce(own_brokers, [(name, record(name, fill(n))) for n in (1, 2) for name in accounts])
        await _until_fills(connection, 10)
        assert "MiB in" in _backup(database_url, "create", str(tmp_path / "backup"))
        await produce(own_brokers, [(name, record(name, fill(3))) for name in accounts])
        await _until_fills(connection, 15)

        assert "restored in" in _backup(database_url, "restore", str(tmp_path / "backup"), "--yes")
        await _until_fills(connection, 15)  # although nothing happens that would tell the worker
        await produce(own_brokers, [(name, record(name, fill(4))) for name in accounts])

        await _until_fills(connection, 20)
        await until_done(own_brokers, [worker])
        expected = await assert_equals_pure_fold(own_brokers)
        rows = await connection.fetch("SELECT account, sequence, realized FROM accounts")
        assert {row["account"]: (row["sequence"], row["realized"]) for row in rows} == {
            name: (expected.books[name].sequence, expected.books[name].realized) for name in accounts
        }
        worker.stop(60)
    finally:
        worker.kill()


def _backup(database_url: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "backup", *words],
        env=os.environ | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def _until_fills(connection: asyncpg.Connection, count: int) -> None:
    deadline = time.monotonic() + 120
    while (found := await connection.fetchval("SELECT count(*) FROM fills")) != count:
        assert time.monotonic() < deadline, f"{found} of {count} fills in Postgres"
        await asyncio.sleep(0.3)
