"""Corrections on a real worker: published by the commands, folded by the ledger, killed in the middle, restated in
Postgres; and what comes of it against a copy made from the log afterwards."""

import asyncio
import json
import random
import shutil
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from msgspec.structs import replace
from typer.testing import CliRunner

from cli.main import app as command_line
from infra.postgres.migrate import migrate
from infra.settings import Settings, load_settings
from portfolio import Book, encode_book
from streams import topics
from streams.account_log import partition_of
from streams.creation import ensure_topics
from streams.log_reader import open_log
from streams.tables import is_older
from tests.support.worker import Worker, fill, produce, read_all, record, until_done

pytestmark = pytest.mark.integration

PARTITIONS = 8


@pytest.fixture
async def worker(
    own_brokers: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Worker]:
    monkeypatch.setenv("KAFKA_BROKERS", own_brokers)
    monkeypatch.setenv("DATABASE_URL", database_url)
    load_settings.cache_clear()
    await ensure_topics(Settings(kafka_brokers=own_brokers), on_wait=print, timeout_s=30)
    await migrate(database_url)
    running = Worker(own_brokers, tmp_path / "w1", {"DATABASE_URL": database_url})
    yield running
    running.kill()
    load_settings.cache_clear()


async def told(*arguments: str, exit_code: int = 0) -> Any:
    result = await asyncio.to_thread(CliRunner().invoke, command_line, [*arguments, "--json"])
    assert result.exit_code == exit_code, (result.output, result.exception)
    return json.loads(result.stdout)


async def run(*arguments: str) -> Any:
    return await told(*arguments, "--yes")


async def refused(*arguments: str) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, command_line, [*arguments, "--yes"])
    assert result.exit_code == 1
    return str(result.exception or result.output)


async def book_of_log(account: str) -> Book:
    async with open_log(load_settings(), partition_of(account, PARTITIONS)) as log:
        book = await log.fold(account, PARTITIONS)
    assert book is not None
    return book


async def book_of_changelog(brokers: str, account: str) -> bytes | None:
    newest = None
    for one in await read_all(brokers, topics.BOOKS_CHANGELOG.name):
        if one.key == account.encode() and not is_older(one.key, one.value, newest):
            newest = one.value
    return newest


async def until_equal(worker: Worker, account: str, dsn: str, timeout_s: float = 60.0) -> Book:
    """Wait until changelog and Postgres have what the log says, to the byte."""
    book = await book_of_log(account)
    deadline = time.monotonic() + timeout_s
    connection = await asyncpg.connect(dsn)
    try:
        while True:
            stored = await book_of_changelog(worker.brokers, account)
            row = await connection.fetchrow("SELECT sequence, checksum FROM accounts WHERE account = $1", account)
            if stored == encode_book(book) and row is not None and row["sequence"] == book.sequence:
                return book
            assert time.monotonic() < deadline, f"{row}, {book.sequence}\n{worker.log()[-4000:]}"
            await asyncio.sleep(0.3)
    finally:
        await connection.close()


async def until_audited(worker: Worker, what: bytes, *, times: int) -> None:
    deadline = time.monotonic() + 60
    while sum(what in (one.value or b"") for one in await read_all(worker.brokers, topics.AUDIT.name)) < times:
        assert time.monotonic() < deadline, worker.log()[-4000:]
        await asyncio.sleep(0.3)


async def test_a_trade_is_cancelled_corrected_and_restored(worker: Worker, database_url: str) -> None:
    account = "bust"
    bought = [
        replace(fill(number), price=Decimal(price), quantity=Decimal(1), fee=Decimal(0), fee_asset="")
        for number, price in ((1, 100), (2, 200))
    ]
    await produce(worker.brokers, [(account, record(account, one)) for one in bought])
    worker.start()
    await until_done(worker.brokers, [worker])

    arguments = ("adjust", "trade", "btcusdt", "1", "--account", account, "--why", "bust", "--by", "ada", "--id", "c1")
    shown = await run(*arguments, "--cancel")
    assert (shown["before"]["BTC average cost"], shown["after"]["BTC average cost"]) == ("150", "200")
    assert (shown["after"]["realized"], shown["after"]["BTC quantity"]) == ("0", "1")
    book = await until_equal(worker, account, database_url)
    assert (book.holdings["BTC"].quantity, book.holdings["BTC"].average_cost, book.realized) == (1, 200, 0)

    again = await run(*arguments, "--cancel")
    assert again["appended_at"] is None
    assert "another event" in await refused(*arguments, "--price", "5")

    await run("adjust", "trade", "BTCUSDT", "1", "--account", account, "--why", "notice", "--price", "120")
    book = await until_equal(worker, account, database_url)
    assert book.holdings["BTC"].cost == 320
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT trade_id, price, revision FROM fills WHERE account = $1 ORDER BY 1", account)
    corrections = await connection.fetch("SELECT author, reason FROM corrections WHERE account = $1", account)
    await connection.close()
    assert [tuple(row) for row in rows] == [(1, 120, 2), (2, 200, 2)]
    assert ("ada", "bust") in [tuple(row) for row in corrections]

    await run("adjust", "trade", "BTCUSDT", "1", "--account", account, "--why", "an error of ours", "--restore")
    book = await until_equal(worker, account, database_url)
    assert (book.holdings["BTC"].cost, book.revision) == (300, 3)

    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE balances SET quantity = 7 WHERE account = $1 AND asset = 'BTC'", account)
    (report,) = await told("verify", "--account", account, "--offline", exit_code=1)
    (difference,) = report["differences"]
    assert [difference[name] for name in ("copy", "subject", "log", "found")] == ["postgres", "asset BTC", "2", "7"]
    (rebuilt,) = await told("rebuild", "--account", account, exit_code=1)
    assert rebuilt["result"] == "different"
    (rebuilt,) = await told("rebuild", "--account", account, "--accept")
    assert rebuilt["result"] == "replaced"
    await connection.execute("DELETE FROM accounts WHERE account = $1", account)
    await connection.execute("DELETE FROM fills WHERE account = $1", account)
    (rebuilt,) = await told("rebuild", "--account", account)
    assert rebuilt["result"] == "completed"
    await connection.close()
    await until_audited(worker, b'"rebuilt"', times=2)
    (report,) = await told("verify", "--account", account, "--offline")
    assert report["differences"] == []

    assert "no trade 77" in await refused(
        "adjust", "trade", "BTCUSDT", "77", "--account", account, "--why", "w", "--cancel"
    )
    assert "no flow" in await refused("reclassify", "nothing", "--account", account, "--kind", "reward", "--why", "w")
    worker.stop()


async def _flood(worker: Worker, account: str, records: int, fills: int) -> None:
    values = [record(account, *(fill(number * fills + one + 1) for one in range(fills))) for number in range(records)]
    await produce(worker.brokers, [(account, value) for value in values])


@pytest.mark.slow
async def test_tables_are_made_anew_from_the_log_where_changelog_and_disk_are_gone(
    worker: Worker, database_url: str
) -> None:
    account = "anew"
    await _flood(worker, account, 5, fills=20)
    worker.start()
    await until_done(worker.brokers, [worker])
    await run("adjust", "trade", "BTCUSDT", "30", "--account", account, "--why", "bust", "--cancel")
    before = await until_equal(worker, account, database_url)
    worker.stop()

    shutil.rmtree(worker.data)
    admin = AIOKafkaAdminClient(bootstrap_servers=worker.brokers)
    await admin.start()
    await admin.delete_topics([topics.BOOKS_CHANGELOG.name])
    names = await admin.list_topics()
    while topics.BOOKS_CHANGELOG.name in names:
        await asyncio.sleep(0.2)
        names = await admin.list_topics()
    await admin.close()

    worker.start()
    await produce(worker.brokers, [(account, record(account, fill(1_000)))])
    after = await until_equal(worker, account, database_url)
    assert (after.sequence, after.revision) == (before.sequence + 1, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_worker_is_killed_again_and_again_while_it_restates(worker: Worker, database_url: str) -> None:
    account, chance, kills, records = "killed", random.Random(5), 5, 150
    await _flood(worker, account, records, fills=50)
    worker.start()
    await until_done(worker.brokers, [worker])
    for number in range(kills):
        trade = str(chance.randint(1, records * 25))
        what = ("--cancel",) if number % 2 else ("--quantity", "0.5")
        await run("adjust", "trade", "BTCUSDT", trade, "--account", account, "--why", "chaos", *what)
        await produce(worker.brokers, [(account, record(account, fill(records * 50 + number + 1)))])
        await asyncio.sleep(chance.random() * 1.5)  # the moment of death is what is random here
        worker.kill()
        worker.start()
    book = await until_equal(worker, account, database_url, timeout_s=240)
    assert book.revision == kills
    (report,) = await told("verify", "--account", account, "--offline")
    assert (report["differences"], report["events"]) == ([], book.sequence)
    (rebuilt,) = await told("rebuild", "--account", account)
    assert (rebuilt["result"], rebuilt["differences"]) == ("equal", [])
