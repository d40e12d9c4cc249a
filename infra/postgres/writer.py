"""The writer: keeps Postgres a copy of what the journal says, each account whole at one log position."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import asyncpg

from infra.postgres.accounts import ACCOUNT_COLUMNS, AccountState, after_marks, after_update
from infra.postgres.errors import DatabaseUnavailable, translated_errors
from infra.postgres.partitions import MonthlyPartitions
from infra.postgres.rows import Row, Rows, snapshot_rows
from portfolio.snapshots import AccountSnapshot, LedgerUpdate

_POOL_SIZE_MAX = 4
_CONNECT_TIMEOUT_S = 5.0
_COMMAND_TIMEOUT_S = 60.0


class LogRef(NamedTuple):
    """Where an update was read: the topic that carries it, not the log of record that it is about."""

    topic: str
    partition: int
    offset: int


class Writer:
    """Writes ledger updates and marks. Any number may run: an account is locked while it is written."""

    def __init__(self, dsn: str) -> None:
        """Make a writer; it connects at the first write.

        Args:
            dsn: postgresql://user:password@host:port/name.
        """
        self._dsn = dsn
        self._pool: asyncpg.Pool | None = None
        self._partitions = MonthlyPartitions()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    async def write(
        self, updates: Sequence[tuple[LogRef, LedgerUpdate]], snapshots: Sequence[AccountSnapshot] = ()
    ) -> None:
        """Store updates and marks, and where the journal is to be read on, in one transaction.

        An update whose log position is stored already changes nothing, so a journal may be read again from anywhere.

        Args:
            updates: Each with where it was read; those of one account in the order of the log.
            snapshots: Accounts whose marks moved.

        Raises:
            DatabaseUnavailable: Nothing is stored; write the same again later.
            SchemaOutdated: The database was not migrated.
            JournalGap: Updates are missing before one of these; nothing is stored.
        """
        with translated_errors():
            pool = await self._connected()
            async with pool.acquire() as connection:
                try:
                    await self._write(connection, updates, snapshots)
                except (DatabaseUnavailable, OSError, asyncpg.PostgresError):
                    self._partitions.forget()
                    raise

    async def next_offsets(self, topic: str) -> dict[int, int]:
        """Where to read a topic on: partition to the first offset that is not stored. Nothing stored: not in it."""
        with translated_errors():
            pool = await self._connected()
            rows = await pool.fetch("SELECT partition, next_offset FROM sink_offsets WHERE topic = $1", topic)
        return {row["partition"]: row["next_offset"] for row in rows}

    async def _connected(self) -> asyncpg.Pool:
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=_POOL_SIZE_MAX,
                timeout=_CONNECT_TIMEOUT_S,
                command_timeout=_COMMAND_TIMEOUT_S,
                server_settings={"application_name": "portfolio-writer", "timezone": "UTC"},
            )
        return self._pool

    async def _write(
        self,
        connection: asyncpg.pool.PoolConnectionProxy,
        updates: Sequence[tuple[LogRef, LedgerUpdate]],
        snapshots: Sequence[AccountSnapshot],
    ) -> None:
        points = [booked.valuation for _, update in updates for booked in update.booked]
        valuation_times = [point.time_us for point in points if point is not None]
        await self._partitions.ensure(connection, "valuations", valuation_times)
        await self._partitions.ensure(connection, "pnl_snapshots", [snapshot.valued_time_us for snapshot in snapshots])
        async with connection.transaction():
            names = {update.account for _, update in updates} | {snapshot.account for snapshot in snapshots}
            states = await _lock_accounts(connection, names)
            before = dict(states)
            rows = _applied(states, (update for _, update in updates))
            for snapshot in snapshots:
                if snapshot.account in states:
                    states[snapshot.account] = after_marks(states[snapshot.account], snapshot)
            changed = [state.row() for name, state in states.items() if state is not before.get(name)]
            await _store(connection, rows)
            await _many(connection, _UPSERT_ACCOUNT, changed)
            await _many(connection, _INSERT_SNAPSHOT, snapshot_rows(snapshots))
            await _many(connection, _UPSERT_OFFSET, _next_offsets(ref for ref, _ in updates))


def _applied(states: dict[str, AccountState], updates: Iterable[LedgerUpdate]) -> Rows:
    """Move the accounts on, and return the rows of what was new."""
    rows = Rows()
    for update in updates:
        state = states.get(update.account)
        if state is None or not state.has_seen(update):
            states[update.account] = after_update(state, update)
            rows.add(update)
    return rows


def _next_offsets(refs: Iterable[LogRef]) -> list[Row]:
    following: dict[tuple[str, int], int] = {}
    for ref in refs:
        key = (ref.topic, ref.partition)
        following[key] = max(following.get(key, 0), ref.offset + 1)
    return [(topic, partition, offset) for (topic, partition), offset in sorted(following.items())]


async def _lock_accounts(connection: asyncpg.pool.PoolConnectionProxy, names: Iterable[str]) -> dict[str, AccountState]:
    """Take the accounts for this transaction, also those that have no row yet; in order, so that nobody deadlocks."""
    ordered = sorted(names)
    for name in ordered:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"portfolio.account.{name}")
    found = await connection.fetch(_SELECT_ACCOUNTS, ordered)
    return {row["account"]: AccountState.from_row(tuple(row)) for row in found}


async def _store(connection: asyncpg.pool.PoolConnectionProxy, rows: Rows) -> None:
    await _many(connection, _UPSERT_POSITION, rows.positions.values())
    await _many(connection, _UPSERT_BALANCE, rows.balances.values())
    await _many(connection, _INSERT_FILL, rows.fills)
    await _many(connection, _INSERT_FLOW, rows.flows)
    await _many(connection, "UPDATE flows SET kind = $3 WHERE account = $1 AND id = $2", rows.reclassified)
    await _many(connection, _INSERT_ENTRY, rows.journal_entries)
    await _many(connection, _INSERT_VALUATION, rows.valuations)
    await _many(connection, _INSERT_RATE, rows.rates)
    await _many(connection, _INSERT_EVENT_PAGE, rows.event_pages)
    await _many(connection, _INSERT_CHECKPOINT, rows.checkpoints)
    await _many(connection, _INSERT_WARNING, rows.warnings)
    await _many(connection, _ADD_TO_SYMBOL, rows.symbol_rows())


async def _many(connection: asyncpg.pool.PoolConnectionProxy, statement: str, rows: Iterable[Row]) -> None:
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


_SELECT_ACCOUNTS = f"SELECT {', '.join(ACCOUNT_COLUMNS)} FROM accounts WHERE account = ANY($1)"  # noqa: S608 - fixed names
_UPSERT_ACCOUNT = _insert("accounts", ACCOUNT_COLUMNS, key=("account",), update=True)
_UPSERT_POSITION = _insert(
    "positions",
    (
        *("account", "id", "asset", "symbol", "symbols", "side", "status", "quantity", "peak_quantity"),
        *("entry_price", "exit_price", "cost", "realized", "fees", "fills", "missing_quantity"),
        *("open_time_us", "close_time_us", "sequence"),
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
        *("client_order_id", "strategy", "cycle_id"),
    ),
    key=("symbol", "account", "execution", "trade_id", "order_id"),
)
_INSERT_FLOW = _insert(
    "flows", ("account", "id", "time_us", "sequence", "asset", "quantity", "kind", "value"), key=("account", "id")
)
_INSERT_ENTRY = _insert(
    "journal_entries",
    (
        *("account", "sequence", "leg", "time_us", "kind", "symbol", "value", "flow", "realized", "fee"),
        "postings",
    ),
    key=("account", "sequence", "leg"),
)
_INSERT_VALUATION = _insert(
    "valuations",
    ("account", "time_us", "sequence", "equity", "inflow", "outflow", "index", "drawdown"),
    key=("account", "time_us", "sequence"),
)
_INSERT_SNAPSHOT = _insert(
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
_ADD_TO_SYMBOL = """
    INSERT INTO symbol_totals (account, symbol, realized, fees, volume, fills) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (account, symbol) DO UPDATE SET
        realized = symbol_totals.realized + excluded.realized,
        fees = symbol_totals.fees + excluded.fees,
        volume = symbol_totals.volume + excluded.volume,
        fills = symbol_totals.fills + excluded.fills
"""
_UPSERT_OFFSET = """
    INSERT INTO sink_offsets (topic, partition, next_offset) VALUES ($1, $2, $3)
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = greatest(sink_offsets.next_offset, excluded.next_offset)
"""
