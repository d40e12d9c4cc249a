"""Connections to Postgres: one for a piece of work, or a pool for whoever reads or writes all the time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from infra.postgres.errors import translated_errors

_CONNECT_TIMEOUT_S: Final = 5.0
_COMMAND_TIMEOUT_S: Final = 30.0


@asynccontextmanager
async def connected(
    dsn: str, *, command_timeout_s: float | None = _COMMAND_TIMEOUT_S
) -> AsyncIterator[asyncpg.Connection]:
    """A connection of one's own.

    Args:
        dsn: postgresql://user:password@host:port/name.
        command_timeout_s: How long a statement may take; None: as long as it takes.

    Raises:
        DatabaseUnavailable: The database does not answer.
        SchemaOutdated: The database was not migrated.
    """
    with translated_errors():
        connection = await asyncpg.connect(
            dsn,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=command_timeout_s,
            server_settings={"application_name": "portfolio", "timezone": "UTC"},
        )
        try:
            yield connection
        finally:
            # Not `close`, which waits for a server that may have gone.
            connection.terminate()


class LazyPool:
    """Connections that are made when they are first wanted, so that its owner can start before the database."""

    def __init__(
        self,
        dsn: str,
        *,
        name: str,
        size_max: int,
        command_timeout_s: float,
        connect_timeout_s: float = _CONNECT_TIMEOUT_S,
        acquire_timeout_s: float | None = None,
        init: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
        **server_settings: str,
    ) -> None:
        """Prepare.

        Args:
            dsn: postgresql://user:password@host:port/name.
            name: What the server is to call the connections.
            size_max: Connections at most; who comes then waits for one.
            command_timeout_s: How long a statement may take.
            connect_timeout_s: How long connecting may take.
            acquire_timeout_s: How long somebody waits for a connection; None: as long as it takes.
            init: What is done first on each new connection.
            server_settings: Whatever else is to be set on it.
        """
        self.size_max = size_max
        self._acquire_timeout_s = acquire_timeout_s
        self._pool: asyncpg.Pool | None = None
        self._making = asyncio.Lock()
        self._options: dict[str, Any] = {
            "dsn": dsn,
            "min_size": 0,
            "max_size": size_max,
            "timeout": connect_timeout_s,
            "command_timeout": command_timeout_s,
            "init": init,
            "server_settings": {"application_name": name, "timezone": "UTC", **server_settings},
        }

    @property
    def in_use(self) -> int:
        """How many connections somebody has just now."""
        return 0 if self._pool is None else self._pool.get_size() - self._pool.get_idle_size()

    @property
    def idle(self) -> int:
        """How many connections nobody has just now."""
        return 0 if self._pool is None else self._pool.get_idle_size()

    async def close(self) -> None:
        """Close the connections; the next who wants one opens the pool again."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    @asynccontextmanager
    async def acquired(self) -> AsyncIterator[PoolConnectionProxy]:
        """A connection, for as long as the block lasts; what goes wrong is the driver's own error."""
        async with self._making:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(**self._options)
        async with self._pool.acquire(timeout=self._acquire_timeout_s) as connection:
            yield connection
