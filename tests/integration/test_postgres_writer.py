"""The writer, against a real Postgres: exact, whole, and indifferent to what it has seen."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from infra.errors import RemediableError
from infra.postgres.errors import DatabaseUnavailable, JournalGap, SchemaOutdated
from infra.postgres.migrate import migrate
from infra.postgres.partitions import MonthlyPartitions
from infra.postgres.reader import Reader
from infra.postgres.writer import LogRef, Writer
from portfolio import CostAdjustment, CostTarget, FlowKind, Reclassification
from portfolio.snapshots import LedgerUpdate
from tests.support.journal import DAY_US, START_US, Journal, deposit, fill, sample_account, valuation

pytestmark = pytest.mark.integration

TOPIC = "portfolio.journal"
TABLES = (
    "accounts",
    "balances",
    "positions",
    "fills",
    "flows",
    "journal_entries",
    "valuations",
    "pnl_snapshots",
    "symbol_totals",
    "warnings",
    "sink_offsets",
)


@pytest.fixture
async def migrated_url(database_url: str) -> str:
    await migrate(database_url)
    return database_url


@pytest.fixture
async def writer(migrated_url: str) -> AsyncIterator[Writer]:
    async with Writer(migrated_url) as writer:
        yield writer


@pytest.fixture
async def connection(migrated_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(migrated_url)
    try:
        yield connection
    finally:
        await connection.close()


def numbered(updates: Sequence[LedgerUpdate], *, start: int = 0) -> list[tuple[LogRef, LedgerUpdate]]:
    return [(LogRef(TOPIC, 3, start + number), update) for number, update in enumerate(updates)]


async def everything(connection: asyncpg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table: sorted((tuple(row) for row in await connection.fetch(f"SELECT * FROM {table}")), key=repr)
        for table in TABLES
    }


async def test_any_cut_and_any_repetition_gives_the_same_rows(writer: Writer, connection: asyncpg.Connection) -> None:
    _, updates = sample_account()
    refs = numbered(updates)
    await writer.write(refs)
    at_once = await everything(connection)
    await connection.execute(f"TRUNCATE {', '.join(TABLES)}")
    for number, ref in enumerate(refs):
        await writer.write([ref])
        await writer.write(refs[max(0, number - 3) : number + 1])
    assert await everything(connection) == at_once


async def test_totals_by_symbol_are_those_of_the_book(writer: Writer, connection: asyncpg.Connection) -> None:
    journal, updates = sample_account()
    more = [
        journal.page(deposit("u1", "SOL", "2", kind="unclassified", time_us=START_US + 6 * DAY_US, SOL="140")),
        journal.page(
            Reclassification(
                id="c1", flow_id="u1", kind=FlowKind.REWARD, author="test", time_us=START_US + 6 * DAY_US + 1
            )
        ),
        journal.page(
            CostAdjustment(
                id="a1",
                asset="SOL",
                amount=Decimal("-3.5"),
                target=CostTarget.REALIZED,
                author="test",
                reason="the true cost",
                time_us=START_US + 6 * DAY_US + 2,
            )
        ),
        journal.page(fill(9, "SELL", "5", "120", base="LTC", time_us=START_US + 6 * DAY_US + 3)),
    ]
    await writer.write(numbered([*updates, *more]))
    rows = await connection.fetch("SELECT symbol, realized, fees, volume, fills FROM symbol_totals")
    stored = {row["symbol"]: tuple(row)[1:] for row in rows}
    booked = {
        symbol: (totals.realized, totals.fees, totals.volume, totals.fills)
        for symbol, totals in journal.book.symbols.items()
    }
    assert stored == booked
    assert await connection.fetchval("SELECT kind FROM flows WHERE id = 'u1'") == "reward"
    opening = await connection.fetchrow("SELECT asset, quantity, value FROM flows WHERE kind = 'opening'")
    assert opening is not None
    assert tuple(opening) == ("LTC", Decimal(5), Decimal(600))
    assert "missing acquisition" in await connection.fetchval("SELECT message FROM warnings")


async def test_sums_of_the_journal_are_the_book(writer: Writer, connection: asyncpg.Connection) -> None:
    journal, updates = sample_account()
    await writer.write(numbered(updates))
    row = await connection.fetchrow("SELECT sum(flow), sum(realized), sum(fee) FROM journal_entries")
    assert row is not None
    assert tuple(row) == (journal.book.net_flows, journal.book.realized, journal.book.fees)


async def test_an_update_that_was_skipped_is_noticed_and_nothing_is_stored(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    _, updates = sample_account()
    await writer.write(numbered(updates[:2]))
    before = await everything(connection)
    with pytest.raises(JournalGap, match="event 4 should come next, event 6 came"):
        await writer.write(numbered(updates[3:5], start=3))
    assert await everything(connection) == before


async def test_offsets_are_stored_with_what_they_cover(writer: Writer) -> None:
    _, updates = sample_account()
    assert await writer.next_offsets(TOPIC) == {}
    await writer.write(numbered(updates[:3], start=40))
    assert await writer.next_offsets(TOPIC) == {3: 43}
    await writer.write(numbered(updates[:1], start=40))
    assert await writer.next_offsets(TOPIC) == {3: 43}, "reading again must not move it back"
    with pytest.raises(JournalGap):
        await writer.write(numbered(updates[5:], start=45))
    assert await writer.next_offsets(TOPIC) == {3: 43}


@pytest.mark.parametrize(
    "text",
    [
        "123456789012345678901234567890123456789012345678901234567890",
        "0.123456789012345678901234567890123456789012345678901234567891",
        "1E-24",
        "-0.000000000000000000000001",
        "1E+12",
        "0",
    ],
)
async def test_no_digit_is_lost(text: str, connection: asyncpg.Connection) -> None:
    await connection.execute("INSERT INTO symbol_totals VALUES ('a', 's', $1, 0, 0, 0)", Decimal(text))
    assert await connection.fetchval("SELECT realized FROM symbol_totals") == Decimal(text)


async def test_extreme_fills_come_back_as_they_were(writer: Writer, connection: asyncpg.Connection) -> None:
    journal = Journal()
    await writer.write(
        numbered(
            [
                journal.page(deposit("d", "USDT", "1000000000000.000000000000000000000001")),
                journal.page(fill(1, "BUY", "999999999999.123456789012345678", "0.000000000000000001", base="SHIB")),
            ]
        )
    )
    row = await connection.fetchrow("SELECT price, quantity, quote_quantity FROM fills")
    assert row is not None
    assert tuple(row) == (
        Decimal("1E-18"),
        Decimal("999999999999.123456789012345678"),
        Decimal("0.000000999999999999123456789012345678"),
    )
    held = await connection.fetchval("SELECT quantity FROM balances WHERE asset = 'USDT'")
    assert held == journal.book.holdings["USDT"].quantity


async def test_each_month_gets_its_partition(writer: Writer, connection: asyncpg.Connection) -> None:
    journal = Journal()
    months = [START_US + number * 31 * DAY_US for number in range(3)]
    updates = [journal.page(deposit("d", "USDT", "10"))]
    updates += [journal.page(valuation(time_us)) for time_us in months]
    await writer.write(numbered(updates), [journal.marked(time_us + 5) for time_us in months])
    for table in ("valuations", "pnl_snapshots"):
        rows = await connection.fetch(f"SELECT tableoid::regclass::text AS name, time_us FROM {table} ORDER BY time_us")
        assert [row["name"] for row in rows] == [f"{table}_2026_01", f"{table}_2026_02", f"{table}_2026_03"]


async def test_partitions_may_be_made_by_several_at_once(migrated_url: str) -> None:
    async def make() -> None:
        connection = await asyncpg.connect(migrated_url)
        try:
            await MonthlyPartitions().ensure(connection, "pnl_snapshots", [START_US, START_US + 40 * DAY_US])
        finally:
            await connection.close()

    await asyncio.gather(*(make() for _ in range(6)))


async def test_two_writers_of_one_account_do_not_disturb_each_other(
    migrated_url: str, connection: asyncpg.Connection
) -> None:
    journal, updates = sample_account()
    async with Writer(migrated_url) as first, Writer(migrated_url) as second:
        await asyncio.gather(*(writer.write(numbered(updates)) for writer in (first, second, first, second)))
    assert await connection.fetchval("SELECT sum(fills) FROM symbol_totals") == 8
    assert await connection.fetchval("SELECT sequence FROM accounts") == journal.book.sequence


async def test_marks_move_prices_forward_only(writer: Writer, connection: asyncpg.Connection) -> None:
    journal, updates = sample_account()
    later = START_US + 6 * DAY_US
    await writer.write(numbered(updates), [journal.marked(later, BTC="70000")])
    await writer.write([], [journal.marked(later - 1, BTC="1")])
    row = await connection.fetchrow("SELECT valued_time_us, marks->>'BTC' AS btc FROM accounts")
    assert row is not None
    assert tuple(row) == (later, "70000")
    assert await connection.fetchval("SELECT count(*) FROM pnl_snapshots") == 2


async def test_a_fill_does_not_bring_back_the_old_prices_of_other_assets(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    journal, updates = sample_account()
    later = START_US + 6 * DAY_US
    await writer.write(numbered(updates), [journal.marked(later, BTC="70000", ETH="4000")])
    await writer.write(
        numbered([journal.page(fill(9, "BUY", "0.1", "4100", base="ETH", time_us=later + 1))], start=len(updates))
    )
    row = await connection.fetchrow("SELECT marks->>'BTC' AS btc, marks->>'ETH' AS eth FROM accounts")
    assert row is not None
    assert tuple(row) == ("70000", "4100")


async def test_marks_of_an_account_that_is_not_there_yet_wait_for_its_journal(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    journal, _ = sample_account()
    await writer.write([], [journal.marked(START_US, BTC="1")])
    assert await connection.fetchval("SELECT count(*) FROM accounts") == 0


async def test_migrations_by_several_at_once(database_url: str) -> None:
    outcomes = await asyncio.gather(*(migrate(database_url) for _ in range(4)))
    assert sorted(before or "" for before, _ in outcomes) == ["", *[outcomes[0][1]] * 3]


async def test_a_database_that_is_away_is_waited_for_and_named() -> None:
    told: list[str] = []
    dsn = "postgresql://portfolio:very-secret@127.0.0.1:1/portfolio"
    with pytest.raises(RemediableError, match=r"127\.0\.0\.1:1/portfolio does not answer") as raised:
        await migrate(dsn, wait_s=0.5, on_wait=told.append)
    assert told
    assert "very-secret" not in f"{raised.value} {told}"
    async with Writer(dsn) as writer:
        with pytest.raises(DatabaseUnavailable):
            await writer.next_offsets(TOPIC)


async def test_a_database_that_was_not_migrated_says_so(database_url: str) -> None:
    reader = Reader(database_url)
    try:
        with pytest.raises(SchemaOutdated, match="portfolio migrate"):
            await reader.check()
        with pytest.raises(SchemaOutdated, match="portfolio migrate"):
            async with reader.view():
                pass
    finally:
        await reader.close()


async def test_the_reader_cannot_write(migrated_url: str) -> None:
    reader = Reader(migrated_url)
    try:
        async with reader._connection() as connection:
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute("DELETE FROM accounts")
    finally:
        await reader.close()
