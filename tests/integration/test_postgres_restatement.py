"""What a trade correction restates, in Postgres: the rows of a live copy against those made from the log later."""

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from infra.postgres.errors import JournalGap, RestatementIncomplete
from infra.postgres.migrate import migrate
from infra.postgres.writer import LogRef, Writer
from portfolio import Event, Fill, Flow, TradeCorrection
from portfolio.snapshots import LedgerUpdate
from tests.simulation.test_log import Exchange
from tests.support.corrected import Ledger, correction
from tests.support.journal import valuation
from tests.support.worker import TIME_US, fill

pytestmark = pytest.mark.integration

TABLES = (
    *("accounts", "balances", "positions", "fills", "flows", "journal_entries", "valuations", "symbol_totals"),
    *("warnings", "event_pages", "book_checkpoints", "asset_rates", "corrections"),
)


async def _rows(dsn: str, *, account: str = "main") -> dict[str, list[dict[str, Any]]]:
    connection = await asyncpg.connect(dsn)
    try:
        found = {
            table: [dict(row) for row in await connection.fetch(f"SELECT * FROM {table} WHERE account = $1", account)]
            for table in TABLES
        }
    finally:
        await connection.close()
    for account_row in found["accounts"]:
        del account_row["marks"], account_row["valued_time_us"]
    found["balances"] = [row for row in found["balances"] if row["quantity"] or row["free"] or row["difference"]]
    found["symbol_totals"] = [row for row in found["symbol_totals"] if row["fills"] or row["realized"]]
    return {table: sorted(rows, key=repr) for table, rows in found.items()}


async def _write(writer: Writer, updates: Sequence[LedgerUpdate], first: int = 0) -> None:
    await writer.write([(LogRef("journal", 0, first + number), update) for number, update in enumerate(updates)])


def _numbers(rows: dict[str, list[dict[str, Any]]], table: str, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in sorted(rows[table], key=lambda row: row["sequence"])]


@pytest.fixture
async def copies(database_url: str) -> tuple[str, str]:
    """A live copy, and one to be made later, in a schema of its own."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE SCHEMA later")
    await connection.close()
    later = f"{database_url}?search_path=later"
    await migrate(database_url)
    await migrate(later)
    return database_url, later


def _random_ledger(seed: int) -> Ledger:
    """A log with corrections and their corrections here and there, and what was published of it."""
    chance = random.Random(seed)
    ledger = Ledger()
    events: list[Event] = []
    for number, page in enumerate(Exchange(seed).log(28)):
        ledger.append(*page)
        events += page
        fills = [event for event in events if isinstance(event, Fill)]
        if number % 9 == 8:
            chosen = chance.choice(fills)
            flows = [event.id for event in events if isinstance(event, Flow)]
            becomes = chance.choice((None, chosen, replace(chosen, quantity=chosen.quantity * 3, price=Decimal(77))))
            ledger.append(
                TradeCorrection(
                    id=f"c{number}",
                    symbol=chosen.symbol,
                    trade_id=chosen.trade_id,
                    order_id=chosen.order_id,
                    replacement=becomes,
                    flows=tuple(flows[-1:]) if chance.random() < 0.3 else (),
                    author="auditor",
                    reason="random",
                    time_us=TIME_US + 10**9,
                )
            )
    return ledger


@pytest.mark.parametrize(
    "seed", [3, pytest.param(11, marks=pytest.mark.slow), pytest.param(12, marks=pytest.mark.slow)]
)
async def test_a_live_copy_equals_one_made_from_the_log_to_the_last_row(copies: tuple[str, str], seed: int) -> None:
    """Whatever the batches were, and though every page came twice, as after a crash of the worker."""
    live, later = copies
    ledger = _random_ledger(seed)
    chance = random.Random(seed)
    assert sum(1 for update in ledger.journal if update.restatement is not None) > 20
    told: list[LedgerUpdate] = []
    for update in ledger.journal:
        told.append(update)
        if update.restatement is not None and chance.random() < 0.5:
            told.append(update)
    async with Writer(live) as writer:
        start = 0
        while start < len(told):
            size = chance.randint(1, 30)
            await _write(writer, told[start : start + size], start)
            start += size
        await _write(writer, told[-60:], len(told))
    async with Writer(later) as writer:
        await _write(writer, list(ledger.updates()))
    rows = await _rows(live)
    assert rows == await _rows(later)
    assert len(rows["corrections"]) == ledger.book.revision
    assert any(row["revision"] for row in rows["journal_entries"])
    (account,) = rows["accounts"]
    assert account["checksum"]
    connection = await asyncpg.connect(live)
    assert await connection.fetchval("SELECT count(*) FROM restatement_pages") == 0
    await connection.close()


async def test_readers_see_the_old_books_until_the_last_page_and_then_the_new(copies: tuple[str, str]) -> None:
    live, _ = copies
    ledger = Ledger()
    for number in range(1, 4):
        ledger.append(fill(number, price=str(number * 100)), valuation(TIME_US + number, BTC="100", BNB="300"))
    before = ledger.journal[:]
    ledger.append(correction(1, replace(fill(1), quantity=Decimal(1))))
    pages = ledger.journal[len(before) :]
    async with Writer(live) as writer:
        await _write(writer, before)
        old = await _rows(live)
        await _write(writer, pages[:-1], len(before))
        assert await _rows(live) == old
        await _write(writer, pages[-1:], len(before) + len(pages) - 1)
        new = await _rows(live)
    assert _numbers(new, "fills", "trade_id", "correction", "revision") == [(1, "c1", 1), (2, "", 1), (3, "", 1)]
    assert _numbers(new, "valuations", "equity") != _numbers(old, "valuations", "equity")
    assert [row["revision"] for row in new["accounts"]] == [1]
    (told,) = new["corrections"]
    assert (told["id"], told["author"], told["reason"], told["restated_from"]) == (
        "c1",
        "auditor",
        "cancelled by the exchange",
        1,
    )


async def test_a_cancelled_fill_is_no_fill_and_counts_nowhere(copies: tuple[str, str]) -> None:
    live, _ = copies
    ledger = Ledger()
    ledger.append(fill(1, symbol="ETH"))
    ledger.append(fill(2))
    ledger.append(replace(correction(1), symbol="ETHUSDT"))
    async with Writer(live) as writer:
        await _write(writer, ledger.journal)
    rows = await _rows(live)
    assert _numbers(rows, "fills", "symbol", "trade_id") == [("BTCUSDT", 2)]
    assert [row["symbol"] for row in rows["symbol_totals"]] == ["BTCUSDT"]
    assert {row["asset"] for row in rows["balances"]} == {"BTC"}
    assert [row["asset"] for row in rows["positions"]] == ["BTC"]


async def test_a_restatement_with_a_hole_is_refused_and_stores_nothing(copies: tuple[str, str]) -> None:
    live, _ = copies
    ledger = Ledger()
    for number in range(1, 5):
        ledger.append(fill(number))
    ledger.append(correction(1))
    async with Writer(live) as writer:
        await _write(writer, ledger.journal[:4])
        before = await _rows(live)
        with pytest.raises(RestatementIncomplete, match="3 of the 4 pages"):
            await _write(writer, ledger.journal[5:])
        assert await _rows(live) == before
    async with Writer(f"{live}?search_path=later") as writer:
        await _write(writer, ledger.journal[:3])
        with pytest.raises(JournalGap):
            await _write(writer, ledger.journal[4:])
