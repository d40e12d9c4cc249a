"""The reader: answers from one consistent snapshot of the database, and never writes."""

import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from infra.access_keys import AccessKey
from infra.postgres import queries
from infra.postgres.access_keys import find_key
from infra.postgres.accounts import AccountState
from infra.postgres.connection import LazyPool
from infra.postgres.errors import SchemaOutdated, translated_errors
from infra.postgres.past import Moment, PastView, books_at
from infra.postgres.revisions import current_revision, newest_revision
from infra.postgres.view import View, log_positions
from infra.telemetry.metrics import READER_WAIT

logger = logging.getLogger(__name__)

_ACQUIRE_TIMEOUT_S: Final = 3.0
_CONNECT_TIMEOUT_S: Final = 3.0
_COMMAND_TIMEOUT_S: Final = 5.0


class Reader:
    """Reads the books. It connects when it is first asked, so it can start before the database."""

    def __init__(self, dsn: str, *, pool_size_max: int = 10) -> None:
        """Make a reader.

        Args:
            dsn: postgresql://user:password@host:port/name.
            pool_size_max: Connections at most; who comes then waits for one, three seconds at most.
        """
        self._dsn = dsn
        self._pool = LazyPool(
            dsn,
            name="portfolio-reader",
            size_max=pool_size_max,
            command_timeout_s=_COMMAND_TIMEOUT_S,
            connect_timeout_s=_CONNECT_TIMEOUT_S,
            acquire_timeout_s=_ACQUIRE_TIMEOUT_S,
            init=_become_reader,
            default_transaction_read_only="on",
        )
        self._versions: asyncpg.Connection | None = None

    @property
    def connections(self) -> Mapping[str, int]:
        """How many connections there are, by state: in use, idle, and at most."""
        return {"in_use": self._pool.in_use, "idle": self._pool.idle, "max": self._pool.size_max}

    async def close(self) -> None:
        """Close the connections."""
        if self._versions is not None:
            self._versions.terminate()
        await self._pool.close()

    async def check(self) -> None:
        """Return if the database answers and has the tables of this version.

        Raises:
            DatabaseUnavailable: It does not answer.
            SchemaOutdated: It was not migrated.
        """
        with translated_errors():
            async with self._connection() as connection:
                revision = await current_revision(connection)
        if revision != newest_revision():
            raise SchemaOutdated(
                f"the database is at revision {revision or 'none'}, this version needs {newest_revision()}; "
                "run `portfolio migrate`"
            )

    async def version(self) -> str:
        """What the database is now: two questions between which this is the same see the same rows.

        It is Postgres' own snapshot, asked over a connection of its own, which is not given back each time.

        Raises:
            DatabaseUnavailable: The database does not answer, or not in time.
        """
        with translated_errors():
            if self._versions is None or self._versions.is_closed():
                self._versions = await asyncpg.connect(
                    self._dsn,
                    timeout=_CONNECT_TIMEOUT_S,
                    command_timeout=_COMMAND_TIMEOUT_S,
                    server_settings={"application_name": "portfolio-reader-version"},
                )
            version: str = await self._versions.fetchval("SELECT pg_current_snapshot()::text")
        return version

    async def access_key(self, key_id: str) -> tuple[AccessKey, str] | None:
        """A key to the API and its hash; None if there is none of that id.

        Raises:
            DatabaseUnavailable: The database does not answer, or not in time.
            SchemaOutdated: The database was not migrated.
        """
        with translated_errors():
            async with self._connection() as connection:
                return await find_key(connection, key_id)

    async def log_positions(self) -> str:
        """Where the stored accounts stand in the log (see `infra.postgres.view.log_positions`).

        Raises:
            DatabaseUnavailable: The database does not answer, or not in time.
            SchemaOutdated: The database was not migrated.
        """
        async with self.view() as view:
            return log_positions(tuple(view.accounts.values()))

    @asynccontextmanager
    async def view(self, accounts: Collection[str] | None = None, at: Moment | None = None) -> AsyncIterator[View]:
        """Open a consistent view: everything read through it is of the same log positions.

        Args:
            accounts: The accounts that are looked at; None: all of them.
            at: When to look; None: now.

        Raises:
            DatabaseUnavailable: The database does not answer, or not in time.
            SchemaOutdated: The database was not migrated.
        """
        with translated_errors():
            async with (
                self._connection() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                rows = await connection.fetch(queries.SELECT_ACCOUNTS, None if accounts is None else list(accounts))
                states = {row["account"]: AccountState.from_row(tuple(row)) for row in rows}
                if at is None:
                    yield View(connection, states)
                else:
                    yield PastView(connection, states, await books_at(connection, states, at))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        """A connection for questions that are not about the books.

        Raises:
            DatabaseUnavailable: The database does not answer, or not in time.
            SchemaOutdated: The database was not migrated.
        """
        with translated_errors():
            async with self._connection() as connection:
                yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        began_s = time.perf_counter()
        async with self._pool.acquired() as connection:
            READER_WAIT.observe(time.perf_counter() - began_s)
            yield connection


async def _become_reader(connection: asyncpg.Connection) -> None:
    """Give up every right but that to read, where the database has the role for it and lets us."""
    try:
        await connection.execute("SET ROLE portfolio_reader")
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        logger.debug("the database is read with the rights of its address: %s", error)
