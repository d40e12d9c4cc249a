"""Monthly partitions: made before the first row of their month, by whichever process comes first."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

PARTITIONED_BY_MONTH: Final = ("pnl_snapshots", "valuations")


def month_of(time_us: int) -> str:
    """The UTC month of a time: `2026_11`."""
    return f"{EPOCH + time_us * _MICROSECOND:%Y_%m}"


def month_bounds_us(month: str) -> tuple[int, int]:
    """The first microsecond of a month, and of the month after it."""
    first = datetime.strptime(month, "%Y_%m").replace(tzinfo=UTC)
    after = (first + timedelta(days=31)).replace(day=1)
    return (first - EPOCH) // _MICROSECOND, (after - EPOCH) // _MICROSECOND


class MonthlyPartitions:
    """The partitions that are known to exist, and the making of those that do not."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()

    async def ensure(
        self, connection: asyncpg.Connection | PoolConnectionProxy, table: str, times_us: Iterable[int]
    ) -> None:
        """Make the partitions for the given times, if they are missing.

        It must run in its own transaction: other writers wait for its lock until that ends. A table that is made
        apart and then attached blocks no reader, where `CREATE TABLE ... PARTITION OF` would.
        """
        for month in {month_of(time_us) for time_us in times_us}:
            if (table, month) not in self._known:
                async with connection.transaction():
                    await self._create(connection, table, month)
                self._known.add((table, month))

    def forget(self) -> None:
        """Look again: the database may be another one after a reconnect."""
        self._known.clear()

    async def _create(self, connection: asyncpg.Connection | PoolConnectionProxy, table: str, month: str) -> None:
        name = f"{table}_{month}"
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"portfolio.{name}")
        if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
            return
        first_us, after_us = month_bounds_us(month)
        # Only names made above and integers enter the statements; identifiers cannot be parameters.
        await connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        await connection.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({first_us}) TO ({after_us})"
        )
