"""Bring the database schema up to date: wait for the server, take the lock, run what is missing."""

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from infra.errors import RemediableError
from infra.postgres.errors import DatabaseUnavailable, describe, translated_errors
from infra.postgres.revisions import MIGRATIONS, newest_revision

logger = logging.getLogger(__name__)

_LOCK_KEY = 0x706F7274666F6C69  # "portfoli": one lock for everyone who migrates this database
_PAUSE_MAX_S = 5.0
_CONNECT_TIMEOUT_S = 5.0


async def migrate(
    dsn: str, *, wait_s: float = 60.0, on_wait: Callable[[str], None] = logger.warning
) -> tuple[str | None, str]:
    """Run the migrations that the database does not have yet.

    Any number of processes may do so at once: one runs them, the others wait for it and find nothing to do.

    Args:
        dsn: postgresql://user:password@host:port/name.
        wait_s: How long to wait for a database that does not answer.
        on_wait: Is told, in one line, why it waits.

    Returns:
        The revision before (None: an empty database) and the revision now.

    Raises:
        RemediableError: The database did not answer in time.
    """
    await wait_for_database(dsn, wait_s=wait_s, on_wait=on_wait)

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


async def wait_for_database(dsn: str, *, wait_s: float, on_wait: Callable[[str], None]) -> None:
    """Return once the database answers, trying again with growing pauses.

    Raises:
        RemediableError: It did not answer within `wait_s` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    pause_s = 0.2
    while True:
        try:
            with translated_errors():
                connection = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)
            await connection.close()
        except DatabaseUnavailable as error:
            if loop.time() + pause_s > deadline:
                raise RemediableError(
                    f"the database at {address_of(dsn)} does not answer ({error})",
                    "Start it, or set DATABASE_URL to one that runs",
                ) from error
            on_wait(f"waiting for the database at {address_of(dsn)}: {describe(error.__cause__ or error)}")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)
        else:
            return


def address_of(dsn: str) -> str:
    """`host:port/name` of a database, without the user and the password."""
    parts = urlsplit(dsn)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
    before = _revision(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return before, newest_revision()


def _revision(connection: Connection) -> str | None:
    if connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar() is None:
        return None
    revision: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return revision
