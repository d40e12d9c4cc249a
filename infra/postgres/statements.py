"""What is written to the tables, in SQL."""

from collections.abc import Iterable, Sequence

import asyncpg

from infra.postgres.accounts import ACCOUNT_COLUMNS
from infra.postgres.rows import Row, Rows


async def lock_account(connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy, account: str) -> None:
    """Take an account for this transaction, also one that has no row yet."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"portfolio.account.{account}")


async def store(connection: asyncpg.pool.PoolConnectionProxy, rows: Rows) -> None:
    """Write the rows that updates came to."""
    await many(connection, _UPSERT_POSITION, rows.positions.values())
    await many(connection, _UPSERT_BALANCE, rows.balances.values())
    await many(connection, _INSERT_FILL, rows.fills)
    await many(connection, _INSERT_FLOW, rows.flows)
    await many(connection, "UPDATE flows SET kind = $3 WHERE account = $1 AND id = $2", rows.reclassified)
    await many(connection, _INSERT_ENTRY, rows.journal_entries)
    await many(connection, _INSERT_VALUATION, rows.valuations)
    await many(connection, _INSERT_RATE, rows.rates)
    await many(connection, _INSERT_EVENT_PAGE, rows.event_pages)
    await many(connection, _INSERT_CHECKPOINT, rows.checkpoints)
    await many(connection, _INSERT_WARNING, rows.warnings)
    await many(connection, _INSERT_CORRECTION, rows.corrections)
    await many(connection, _ADD_TO_SYMBOL, rows.symbol_rows())


async def many(
    connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy, statement: str, rows: Iterable[Row]
) -> None:
    """Run a statement for each row."""
    batch = list(rows)
    if batch:
        await connection.executemany(statement, batch)


def _insert(table: str, columns: Sequence[str], *, key: Sequence[str], update: bool = False) -> str:
    """An INSERT that, where the key exists, updates the other columns or changes nothing."""
    numbers = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    others = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in key)
    action = f"UPDATE SET {others}" if update else "NOTHING"
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({numbers}) "  # noqa: S608 - the names are written below
        f"ON CONFLICT ({', '.join(key)}) DO {action}"
    )


SELECT_ACCOUNTS = f"SELECT {', '.join(ACCOUNT_COLUMNS)} FROM accounts WHERE account = ANY($1)"  # noqa: S608 - fixed names
UPSERT_ACCOUNT = _insert("accounts", ACCOUNT_COLUMNS, key=("account",), update=True)
_UPSERT_POSITION = _insert(
    "positions",
    (
        *("account", "id", "asset", "symbol", "symbols", "side", "status", "quantity", "peak_quantity"),
        *("entry_price", "exit_price", "cost", "realized", "fees", "fills", "missing_quantity"),
        *("open_time_us", "close_time_us", "sequence", "revision"),
    ),
    key=("account", "id"),
    update=True,
)
_UPSERT_BALANCE = _insert(
    "balances",
    (
        *("account", "asset", "quantity", "cost", "average_cost", "free", "locked", "exchange_time_us"),
        *("difference", "reason", "sequence"),
    ),
    key=("account", "asset"),
    update=True,
)
_INSERT_FILL = _insert(
    "fills",
    (
        *("symbol", "account", "execution", "trade_id", "order_id", "time_us", "sequence", "side", "price"),
        *("quantity", "quote_quantity", "value", "realized", "fee", "fee_asset", "fee_value", "maker"),
        *("client_order_id", "strategy", "cycle_id", "correction", "revision"),
    ),
    key=("symbol", "account", "execution", "trade_id", "order_id"),
)
_INSERT_FLOW = _insert(
    "flows",
    ("account", "id", "time_us", "sequence", "asset", "quantity", "kind", "value", "revision"),
    key=("account", "id"),
)
_INSERT_ENTRY = _insert(
    "journal_entries",
    (
        *("account", "sequence", "leg", "time_us", "kind", "symbol", "value", "flow", "realized", "fee"),
        *("postings", "revision"),
    ),
    key=("account", "sequence", "leg"),
)
_INSERT_VALUATION = _insert(
    "valuations",
    ("account", "time_us", "sequence", "equity", "inflow", "outflow", "index", "drawdown", "revision"),
    key=("account", "time_us", "sequence"),
)
INSERT_SNAPSHOT = _insert(
    "pnl_snapshots",
    (
        *("account", "time_us", "sequence", "equity", "net_flows", "realized", "unrealized", "fees"),
        *("twr_index", "drawdown"),
    ),
    key=("account", "time_us", "sequence"),
)
_INSERT_RATE = _insert(
    "asset_rates", ("account", "asset", "time_us", "sequence", "rate"), key=("account", "asset", "time_us", "sequence")
)
_INSERT_EVENT_PAGE = _insert(
    "event_pages",
    (
        *("account", "first_sequence", "last_sequence", "log_partition", "log_offset"),
        *("oldest_time_us", "newest_time_us", "events"),
    ),
    key=("account", "first_sequence"),
)
_INSERT_CHECKPOINT = _insert("book_checkpoints", ("account", "sequence", "book"), key=("account", "sequence"))
_INSERT_WARNING = _insert(
    "warnings",
    ("account", "sequence", "number", "time_us", "message"),
    key=("account", "sequence", "number"),
)
_INSERT_CORRECTION = _insert(
    "corrections",
    (
        *("account", "id", "sequence", "time_us", "symbol", "execution", "trade_id", "order_id", "replacement"),
        *("flows", "author", "reason", "restated_from"),
    ),
    key=("account", "id"),
)
_ADD_TO_SYMBOL = """
    INSERT INTO symbol_totals (account, symbol, realized, fees, volume, fills) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (account, symbol) DO UPDATE SET
        realized = symbol_totals.realized + excluded.realized,
        fees = symbol_totals.fees + excluded.fees,
        volume = symbol_totals.volume + excluded.volume,
        fills = symbol_totals.fills + excluded.fills
"""
UPSERT_OFFSET = """
    INSERT INTO sink_offsets (topic, partition, next_offset) VALUES ($1, $2, $3)
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = greatest(sink_offsets.next_offset, excluded.next_offset)
"""
