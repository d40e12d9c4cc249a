"""A connection to Postgres for one piece of work; whoever reads or writes all the time has a pool."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

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
