"""Executions held against the fills in a real Postgres: both ways, attributed, told on a real Kafka, over restarts."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from infra.postgres.comparison import strategy_lines
from infra.postgres.executions import Announced, ExecutionStore
from infra.postgres.migrate import migrate
from infra.postgres.reader import Reader
from infra.postgres.writer import LogRef, Writer
from infra.settings import Settings
from portfolio.events import Event
from streams.creation import ensure_topics
from streams.executions.check import Checker
from streams.executions.records import FindingRecord, finding_records
from streams.gateway.log import open_producer
from streams.topics import EXECUTION_FINDINGS
from tests.support.journal import START_US, Journal, fill, valuation
from tests.support.worker import read_all

pytestmark = pytest.mark.integration

GRACE_US = 30_000_000
LATER_US = START_US + 10 * GRACE_US


@pytest.fixture
async def url(database_url: str) -> str:
    await migrate(database_url)
    return database_url


@pytest.fixture
async def store(url: str) -> AsyncIterator[ExecutionStore]:
    opened = ExecutionStore(url)
    yield opened
    await opened.close()


def checker(store: ExecutionStore, *booked: str) -> Checker:
    return Checker(store, grace_s=GRACE_US / 1_000_000, booked_accounts=frozenset(booked))


class Books:
    """The journal of an account, written to Postgres as the sink writes it."""

    def __init__(self, url: str, account: str = "main") -> None:
        self._url, self._journal, self._offset = url, Journal(account), 0

    async def add(self, *events: Event) -> None:
        async with Writer(self._url) as writer:
            await writer.write([(LogRef("portfolio.journal", 3, self._offset), self._journal.page(*events))])
        self._offset += 1


def announced(trade_id: int | None, **other: Any) -> Announced:
    said: dict[str, Any] = {
        "account": "main", "identity": f"BTCUSDT trade {trade_id}", "symbol": "BTCUSDT", "side": "BUY",
        "price": Decimal(60_000), "quantity": Decimal("0.5"), "fee": None, "fee_asset": "",
        "order_id": None, "client_order_id": "", "strategy": "grid", "cycle_id": f"c-{trade_id}",
        "event_time_us": START_US, "source": "redis:bots", "log_offset": trade_id or 0, "arrived_time_us": START_US,
    } | other  # fmt: skip
    return Announced(trade_id=trade_id, **said)


async def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def attributions(url: str) -> list[tuple[Any, ...]]:
    return await rows(url, "SELECT trade_id, order_id, strategy, cycle_id FROM fill_attributions ORDER BY trade_id")


async def open_findings(store: ExecutionStore) -> dict[str, str]:
    return {each.identity: each.finding for each in await store.findings(100)}


async def test_a_fill_that_comes_in_time_is_attributed_and_nothing_is_told(url: str, store: ExecutionStore) -> None:
    books = Books(url)
    await store.write([announced(1)])
    await checker(store).check(START_US + 1)
    assert await attributions(url) == []
    await books.add(fill(1, "BUY", "0.5", "60000"))
    assert (await checker(store).check(START_US + 2)).matched == 1
    await books.add(valuation(LATER_US))
    await checker(store).check(LATER_US)
    assert await attributions(url) == [(1, 1_001, "grid", "c-1")]
    assert await open_findings(store) == {}


async def test_both_sides_are_missed_and_what_comes_late_clears_it(url: str, store: ExecutionStore) -> None:
    books = Books(url)
    await books.add(fill(1, "BUY", "0.5", "60000"), fill(2, "BUY", "0.4", "60000", time_us=START_US + 1))
    await store.write([announced(1), announced(3), announced(4, price=Decimal(1))])
    await books.add(fill(4, "BUY", "0.5", "60000", time_us=START_US + 2))
    await checker(store).check(START_US + GRACE_US - 1)
    assert await open_findings(store) == {}, "the other side may still come"

    await checker(store).check(LATER_US)
    assert await open_findings(store) == {"fill BTCUSDT 2 1002": "unannounced-fill"}, "the log has not gone on yet"
    await books.add(valuation(LATER_US))
    # Another process, as after a restart: what is remembered is in the database.
    restarted = ExecutionStore(url)
    try:
        await checker(restarted).check(LATER_US + 1)
        assert await open_findings(restarted) == {
            "fill BTCUSDT 2 1002": "unannounced-fill",
            "BTCUSDT trade 3": "missing-fill",
            "BTCUSDT trade 4": "different",
        }
        assert (await checker(restarted).check(LATER_US + 2)).found == 0, "told once"
    finally:
        await restarted.close()

    await store.write([announced(2, quantity=Decimal("0.4"), arrived_time_us=LATER_US)])
    await books.add(fill(5, "SELL", "0.1", "60000", time_us=LATER_US))
    await checker(store).check(LATER_US + GRACE_US)
    assert "fill BTCUSDT 2 1002" not in await open_findings(store), "announced after all"


async def test_a_strategy_that_is_named_by_a_later_announcement_counts(url: str, store: ExecutionStore) -> None:
    await Books(url).add(fill(1, "BUY", "0.5", "60000"))
    await store.write([announced(1, strategy="", cycle_id="")])
    await checker(store).check(START_US + 1)
    assert await attributions(url) == [(1, 1_001, "", "")]
    await store.write([announced(1, price=Decimal(5)), announced(1, strategy="another")])
    await checker(store).check(START_US + 2)
    assert await attributions(url) == [(1, 1_001, "grid", "c-1")], (
        "what was said first stays, but for what was not said"
    )


async def test_fills_that_are_made_of_executions_are_theirs_by_offset(url: str, store: ExecutionStore) -> None:
    await Books(url).add(fill(17, "BUY", "0.5", "60000"))
    await store.write([announced(900, log_offset=17)])
    await checker(store, "main").check(START_US + 1)
    assert await attributions(url) == [(17, 1_017, "grid", "c-900")]


async def test_two_checkers_at_once_do_not_wait_for_each_other(url: str, store: ExecutionStore) -> None:
    await store.write([announced(1)])
    async with store.checking() as first, store.checking() as second:
        assert first is not None
        assert second is None


async def test_findings_are_published_until_a_broker_has_them(
    url: str, store: ExecutionStore, kafka_brokers: str
) -> None:
    settings = Settings(kafka_brokers=kafka_brokers)
    await ensure_topics(settings, on_wait=print, timeout_s=30, specs=(EXECUTION_FINDINGS,))
    books = Books(url, "findings")
    await store.write([announced(1, account="findings", strategy="[red]grid")])
    await books.add(valuation(LATER_US))
    await checker(store).check(LATER_US)

    async def told() -> list[FindingRecord]:
        found = [finding_records.decode(each.value) for each in await read_all(kafka_brokers, EXECUTION_FINDINGS.name)]
        return [each for each in found if each.account == "findings"]

    async with open_producer(settings) as producer:
        assert await checker(store).publish(producer) == 1
        assert await checker(store).publish(producer) == 0
        (finding,) = await told()
        assert (finding.finding, finding.strategy, finding.cleared_time_us) == ("missing-fill", "[red]grid", None)
        await books.add(fill(1, "BUY", "0.5", "60000", time_us=LATER_US))
        await checker(store).check(LATER_US + GRACE_US)
        await asyncio.gather(*(checker(store).publish(producer) for _ in range(2)))
    assert (await told())[-1].cleared_time_us == LATER_US + GRACE_US
    assert await open_findings(store) == {}


async def test_the_strategy_of_a_fill_is_what_the_bot_said(url: str, store: ExecutionStore) -> None:
    books = Books(url)
    await books.add(fill(1, "BUY", "0.5", "60000"), fill(2, "SELL", "0.5", "61000", time_us=START_US + 1))
    await store.write([announced(1), announced(2, side="SELL", price=Decimal(61_000))])
    await checker(store).check(START_US + 1)
    reader = Reader(url)
    try:
        async with reader.view() as view:
            page = await view.fills(symbol=None, limit=10)
            (line,) = await strategy_lines(view)
    finally:
        await reader.close()
    assert [(each.strategy, each.cycle_id) for each in page.lines] == [("grid", "c-2"), ("grid", "c-1")]
    assert (line.strategy, line.fills, line.cycles, line.realized) == ("grid", 2, 2, Decimal(500))
