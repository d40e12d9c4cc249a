"""A second copy of the tables, in a schema of its own beside the live ones: made, compared, and put in their place.

The live tables are read and written all the while. Only the replacement of an account takes its lock, the one that the
writer takes, for the one transaction that replaces it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from infra.errors import RemediableError
from infra.postgres.errors import translated_errors
from infra.postgres.migrate import migrate
from infra.postgres.partitions import MonthlyPartitions
from infra.postgres.statements import UPSERT_OFFSET, many

SCHEMA: Final = "portfolio_rebuild"

_LOCK_KEY: Final = 0x72656275696C64
_SAMPLES: Final = 3

_EVENTS: Final = (
    *("fills", "flows", "journal_entries", "valuations", "warnings", "corrections", "asset_rates"),
    *("event_pages", "book_checkpoints"),
)
"""Tables that only grow: a copy that is behind has fewer rows, and no others."""

_STATES: Final = ("accounts", "balances", "positions", "symbol_totals")
"""Tables that say what is now: to be compared at one log position."""

_LIVE_ONLY: Final = {"accounts": ("marks", "valued_time_us", "duplicates", "conflicts")}
"""Columns that the log does not decide: the newest prices, and what was counted of records that came again."""

_NOTHING: Final = {
    "balances": "quantity = 0 AND cost = 0 AND coalesce(free, 0) = 0 AND coalesce(locked, 0) = 0 AND difference = 0",
    "symbol_totals": "realized = 0 AND fees = 0 AND volume = 0 AND fills = 0",
}
"""Rows that say that there is nothing, which a copy need not have."""


@dataclass(frozen=True, slots=True)
class TableDifference:
    """Rows of an account that one copy of a table has and the other has not.

    Attributes:
        live_only: Rows of the live table that the log does not lead to.
        log_only: Rows that the log leads to and the live table lacks.
        samples: Some of them, for a person to read.
    """

    table: str
    live_only: int
    log_only: int
    samples: tuple[str, ...]


def side_dsn(dsn: str) -> str:
    """The address of the side schema in a database."""
    parts = urlsplit(dsn)
    query = [pair for pair in parse_qsl(parts.query) if pair[0] != "search_path"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("search_path", SCHEMA)])))


@asynccontextmanager
async def side_schema(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """An empty side schema with every table; dropped in the end. The connection sees the live tables.

    Raises:
        RemediableError: Another rebuild is under way, or the database does not answer.
    """
    with translated_errors():
        connection = await asyncpg.connect(dsn, timeout=5.0, server_settings={"timezone": "UTC"})
        try:
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY):
                raise RemediableError("another rebuild is under way in this database", "Wait until it is done")
            await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
            await migrate(side_dsn(dsn))
            try:
                yield connection
            finally:
                await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        finally:
            await connection.close()


async def stored_offset(connection: asyncpg.Connection, account: str) -> int | None:
    """The log offset that the live tables have come to; None: they have nothing of the account."""
    offset: int | None = await connection.fetchval("SELECT log_offset FROM accounts WHERE account = $1", account)
    return offset


async def compare(connection: asyncpg.Connection, account: str, *, is_behind: bool) -> list[TableDifference]:
    """Compare the live rows of an account with those of the side schema.

    Args:
        connection: In a transaction.
        account: The account.
        is_behind: Whether the live tables have not come as far; what is now is not compared then.
    """
    tables = _EVENTS if is_behind else (*_EVENTS, *_STATES)
    found = [await _compare_table(connection, table, account) for table in tables]
    return [one for one in found if one.live_only or one.log_only]


async def replace_account(connection: asyncpg.Connection, account: str, *, keep_marks_history: bool) -> None:
    """Put the rows of the side schema in the place of the live ones.

    Args:
        connection: In a transaction that has locked the account.
        account: The account.
        keep_marks_history: Whether what marks made of the account is kept: not where the books were others.
    """
    marked = await connection.fetchrow("SELECT marks, valued_time_us FROM accounts WHERE account = $1", account)
    times = await connection.fetch(f"SELECT DISTINCT time_us FROM {SCHEMA}.valuations WHERE account = $1", account)  # noqa: S608
    await MonthlyPartitions().ensure(connection, "valuations", [row["time_us"] for row in times])
    for table in (*_EVENTS, *_STATES):
        columns = ", ".join(await _columns(connection, table))
        await connection.execute(f"DELETE FROM {table} WHERE account = $1", account)  # noqa: S608 - fixed names
        await connection.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {SCHEMA}.{table} WHERE account = $1",  # noqa: S608
            account,
        )
    if marked is not None:
        await connection.execute(
            "UPDATE accounts SET marks = marks || $2, valued_time_us = $3 WHERE account = $1 AND valued_time_us < $3",
            account,
            marked["marks"],
            marked["valued_time_us"],
        )
    if not keep_marks_history:
        await connection.execute("DELETE FROM pnl_snapshots WHERE account = $1", account)
    await connection.execute(
        "DELETE FROM restatement_pages WHERE account = $1 "
        "AND log_offset <= (SELECT log_offset FROM accounts WHERE account = $1)",
        account,
    )


async def read_on_at(connection: asyncpg.Connection, topic: str, offsets: Mapping[int, int]) -> None:
    """Note that what partitions of a topic have before an offset is in the live tables."""
    await many(connection, UPSERT_OFFSET, [(topic, partition, offset) for partition, offset in offsets.items()])


async def _compare_table(connection: asyncpg.Connection, table: str, account: str) -> TableDifference:
    left_out = _LIVE_ONLY.get(table, ())
    columns = [column for column in await _columns(connection, table) if column.strip('"') not in left_out]
    something = f"account = $1 AND NOT ({_NOTHING[table]})" if table in _NOTHING else "account = $1"
    live = f"SELECT {', '.join(columns)} FROM {table} WHERE {something}"  # noqa: S608 - fixed names
    side = f"SELECT {', '.join(columns)} FROM {SCHEMA}.{table} WHERE {something}"  # noqa: S608 - fixed names
    live_only = await _excess(connection, live, side, account)
    log_only = await _excess(connection, side, live, account)
    samples = [f"only live: {text}" for text in live_only[1]] + [f"only from the log: {text}" for text in log_only[1]]
    return TableDifference(table, live_only[0], log_only[0], tuple(samples))


async def _excess(connection: asyncpg.Connection, more: str, less: str, account: str) -> tuple[int, Sequence[str]]:
    rows = await connection.fetch(
        f"SELECT count(*) OVER () AS number, excess::text AS shown FROM ({more} EXCEPT ALL {less}) AS excess "  # noqa: S608
        f"LIMIT {_SAMPLES}",
        account,
    )
    return (rows[0]["number"], [row["shown"][:300] for row in rows]) if rows else (0, [])


async def _columns(connection: asyncpg.Connection, table: str) -> list[str]:
    rows = await connection.fetch(
        "SELECT quote_ident(attname) AS name FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 "
        "AND NOT attisdropped ORDER BY attnum",
        f"{SCHEMA}.{table}",
    )
    return [row["name"] for row in rows]
