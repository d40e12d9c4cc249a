"""The writer: keeps Postgres a copy of what the journal says, each account whole at one log position."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import asyncpg

from infra.postgres.accounts import AccountState, after_marks, after_update
from infra.postgres.connection import LazyPool
from infra.postgres.errors import DatabaseUnavailable, translated_errors
from infra.postgres.partitions import MonthlyPartitions
from infra.postgres.restatements import restate, stage_page
from infra.postgres.rows import Row, Rows, snapshot_rows
from infra.postgres.statements import (
    INSERT_SNAPSHOT,
    SELECT_ACCOUNTS,
    UPSERT_ACCOUNT,
    UPSERT_OFFSET,
    lock_account,
    many,
    store,
)
from portfolio.snapshots import AccountSnapshot, LedgerUpdate

_POOL_SIZE_MAX = 4
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
        self._pool = LazyPool(
            dsn, name="portfolio-writer", size_max=_POOL_SIZE_MAX, command_timeout_s=_COMMAND_TIMEOUT_S
        )
        self._partitions = MonthlyPartitions()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

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
            async with self._pool.acquired() as connection:
                try:
                    await self._write(connection, updates, snapshots)
                except (DatabaseUnavailable, OSError, asyncpg.PostgresError):
                    self._partitions.forget()
                    raise

    async def next_offsets(self, topic: str) -> dict[int, int]:
        """Where to read a topic on: partition to the first offset that is not stored. Nothing stored: not in it."""
        with translated_errors():
            async with self._pool.acquired() as connection:
                rows = await connection.fetch("SELECT partition, next_offset FROM sink_offsets WHERE topic = $1", topic)
        return {row["partition"]: row["next_offset"] for row in rows}

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
            rows = Rows()
            for _, update in updates:
                rows = await _take(connection, states, rows, update)
            for snapshot in snapshots:
                if snapshot.account in states:
                    states[snapshot.account] = after_marks(states[snapshot.account], snapshot)
            changed = [state.row() for name, state in states.items() if state is not before.get(name)]
            await store(connection, rows)
            await many(connection, UPSERT_ACCOUNT, changed)
            await many(connection, INSERT_SNAPSHOT, snapshot_rows(snapshots))
            await many(connection, UPSERT_OFFSET, _next_offsets(ref for ref, _ in updates))


async def _take(
    connection: asyncpg.pool.PoolConnectionProxy, states: dict[str, AccountState], rows: Rows, update: LedgerUpdate
) -> Rows:
    """Move an account on by an update that is new; returns the rows that are still to be stored."""
    state, restatement = states.get(update.account), update.restatement
    until = update.position if restatement is None else restatement.position
    if state is not None and state.has_seen(until):
        return rows
    if restatement is None:
        states[update.account] = after_update(state, update)
        rows.add(update)
        return rows
    if not restatement.is_last:
        await stage_page(connection, restatement, update)
        return rows
    await store(connection, rows)
    states[update.account] = await restate(connection, state, restatement, update)
    return Rows()


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
        await lock_account(connection, name)
    found = await connection.fetch(SELECT_ACCOUNTS, ordered)
    return {row["account"]: AccountState.from_row(tuple(row)) for row in found}
