"""Which tables a database has and which this version needs; apart from what changes them, which is slow to import."""

from functools import lru_cache
from pathlib import Path

import asyncpg
from asyncpg.pool import PoolConnectionProxy

MIGRATIONS = Path(__file__).parent / "migrations"


async def current_revision(connection: asyncpg.Connection | PoolConnectionProxy) -> str | None:
    """The revision of the database, None if it was never migrated."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision


@lru_cache(maxsize=1)
def newest_revision() -> str:
    """The revision that this version of the service needs: the highest number among the migrations."""
    numbers = [path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")]
    if not numbers:
        raise RuntimeError(f"there are no migrations in {MIGRATIONS}; install the service again")
    return max(numbers)
