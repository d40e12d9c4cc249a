"""What a worker gives to Redis and Postgres, and that it goes on without them."""

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from infra.postgres.migrate import migrate
from infra.settings import Settings
from portfolio import Book, exact_arithmetic, value_book
from streams import topics
from streams.creation import ensure_topics
from streams.mark_cache import marks_key
from streams.records import MarksPage, PnlRecord, marks_pages, pnl_records
from tests.support.worker import (
    TIME_US,
    Worker,
    assert_equals_pure_fold,
    fill,
    produce,
    producing,
    read_all,
    record,
    until_done,
)

pytestmark = pytest.mark.integration

PARTITIONS = 8
RATES = {"BTC": Decimal("65432.123456789"), "BNB": Decimal("320.5")}


@pytest.fixture
async def worker(own_brokers: str, database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Worker]:
    """A worker whose database is not migrated yet."""
    await ensure_topics(Settings(kafka_brokers=own_brokers), on_wait=print, timeout_s=30)
    running = Worker(own_brokers, tmp_path / "w1", {"DATABASE_URL": database_url, "REDIS_URL": redis_url})
    yield running
    running.kill()


async def test_marks_and_journal_reach_topics_redis_and_postgres(
    worker: Worker, database_url: str, redis_url: str
) -> None:
    accounts = [f"out{number}" for number in range(5)]
    await produce(worker.brokers, [(name, record(name, fill(n))) for n in (1, 2, 3) for name in accounts])
    worker.start()
    await until_done(worker.brokers, [worker])
    expected = await assert_equals_pure_fold(worker.brokers)
    assert "nothing is written to Postgres" in worker.log()  # its tables are not there yet, and nothing else waits

    valued = await _value_by_marks(worker.brokers, set(accounts))
    for name, pnl in valued.items():
        _assert_valued(expected.books[name], pnl)

    async with redis.asyncio.from_url(redis_url, decode_responses=True) as client:
        cached = await client.hgetall(marks_key("USDT"))
    assert {str(asset): Decimal(str(rate)) for asset, rate in cached.items()} == RATES

    await migrate(database_url)
    rows = await _accounts(database_url, len(accounts))
    for name in accounts:
        assert rows[name] == (expected.books[name].sequence, expected.books[name].realized)

    worker.stop()
    await produce(worker.brokers, [(name, record(name, fill(4))) for name in accounts])
    worker.start()
    await until_done(worker.brokers, [worker])
    expected = await assert_equals_pure_fold(worker.brokers)
    rows = await _accounts(database_url, len(accounts), sequence=4)
    assert {name: row[1] for name, row in rows.items()} == {name: expected.books[name].realized for name in accounts}
    worker.stop()


async def _value_by_marks(brokers: str, accounts: set[str]) -> dict[str, PnlRecord]:
    page = marks_pages.encode(MarksPage(time_us=TIME_US + 77, rates={"USDT": RATES}))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        async with producing(brokers) as producer:
            for partition in range(PARTITIONS):
                await producer.send_and_wait(topics.MARKS.name, page, partition=partition)
        await asyncio.sleep(0.5)
        records = [pnl_records.decode(one.value) for one in await read_all(brokers, topics.PNL.name)]
        found = {one.snapshot.account: one for one in records if one.cause == "marks"}
        if found.keys() >= accounts:
            # The same marks again and again move nothing: once is enough.
            assert len([one for one in records if one.cause == "marks"]) == len(found)
            return found
    raise AssertionError("the marks move nothing")


def _assert_valued(book: Book, pnl: PnlRecord) -> None:
    value = value_book(book, RATES)
    assert pnl.snapshot.valued_time_us == TIME_US + 77
    assert pnl.snapshot.position == book.position
    assert (pnl.snapshot.equity, pnl.snapshot.unrealized) == (value.equity, value.unrealized)
    with exact_arithmetic():
        assert pnl.snapshot.equity == pnl.snapshot.net_flows + pnl.snapshot.realized + pnl.snapshot.unrealized


async def _accounts(database_url: str, count: int, sequence: int = 1) -> dict[str, tuple[int, Decimal]]:
    deadline = time.monotonic() + 40
    connection = await asyncpg.connect(database_url)
    try:
        while True:
            rows = await connection.fetch("SELECT account, sequence, realized FROM accounts")
            found = {row["account"]: (row["sequence"], row["realized"]) for row in rows}
            if len(found) == count and all(row[0] >= sequence for row in found.values()):
                return found
            assert time.monotonic() < deadline, f"in Postgres: {found}"
            await asyncio.sleep(0.3)
    finally:
        await connection.close()
