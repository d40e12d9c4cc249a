"""The checks of this machine and of the servers beside Kafka: Postgres, Redis, disk, versions."""

import asyncio
import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from infra.doctor.findings import Finding, Verdict, judge_disk
from infra.postgres.errors import DatabaseError, describe, translated_errors
from infra.postgres.migrate import address_of
from infra.postgres.revisions import current_revision, newest_revision
from infra.redis.client import RedisAway, RedisClient
from infra.settings import Settings

_TIMEOUT_S: Final = 5.0
_REDIS_PORT: Final = 6379
_PACKAGES: Final = ("portfolio-service", "faust-streaming", "aiokafka", "python-binance", "asyncpg", "redis")

_NOT_GRANTED: Final = """
SELECT relname FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
    AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
             AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
ORDER BY relname
"""


async def check_postgres(settings: Settings) -> list[Finding]:
    """Check that the database answers, has this version's tables, and can be written."""
    dsn = settings.database_dsn
    address = address_of(dsn)
    try:
        with translated_errors():
            connection = await asyncpg.connect(dsn, timeout=_TIMEOUT_S)
    except DatabaseError as error:
        seen = f"{address} does not answer ({describe(error.__cause__ or error)})"
        return [Finding("postgres", Verdict.FAIL, seen, "Start it, or set DATABASE_URL to one that runs")]
    try:
        found = connection.get_server_version()
        reached = Finding("postgres", Verdict.OK, f"{address} answers, PostgreSQL {found.major}.{found.minor}")
        return [reached, *await _tables(connection)]
    finally:
        await connection.close()


async def _tables(connection: asyncpg.Connection) -> list[Finding]:
    revision, wanted = await current_revision(connection), newest_revision()
    if revision != wanted:
        seen = f"at revision {revision or 'none'}, this version needs {wanted}"
        return [Finding("schema", Verdict.FAIL, seen, "Run `portfolio migrate`")]
    schema = Finding("schema", Verdict.OK, f"at revision {revision}")
    if await connection.fetchval("SHOW transaction_read_only") == "on":
        remedy = "Set DATABASE_URL to the primary, or take back default_transaction_read_only"
        return [schema, Finding("database rights", Verdict.FAIL, "it can only be read (a standby?)", remedy)]
    lacking = [str(row["relname"]) for row in await connection.fetch(_NOT_GRANTED)]
    if lacking:
        seen = f"this user may not read and write {', '.join(lacking)}"
        remedy = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO the user of DATABASE_URL"
        return [schema, Finding("database rights", Verdict.FAIL, seen, remedy)]
    return [schema, Finding("database rights", Verdict.OK, "every table can be read and written")]


async def check_redis(settings: Settings) -> list[Finding]:
    """Check that Redis answers. The books are right without it, so its absence is a warning."""
    parts = urlsplit(settings.redis_dsn)
    address = f"{parts.hostname or 'localhost'}:{parts.port or _REDIS_PORT}"
    client = RedisClient(settings.redis_dsn)
    started = time.monotonic()
    try:
        await client.ping()
    except RedisAway as error:
        seen = f"{address} does not answer ({error}); without it the gateway's state is not shown and nothing is cached"
        return [Finding("redis", Verdict.WARN, seen, "Start it, or set REDIS_URL to one that runs")]
    finally:
        await client.close()
    return [Finding("redis", Verdict.OK, f"{address} answers in {(time.monotonic() - started) * 1_000:.0f} ms")]


async def check_disk(settings: Settings) -> list[Finding]:
    """Check the room where the data directory is, or will be."""
    return [await asyncio.to_thread(_disk, settings)]


def _disk(settings: Settings) -> Finding:
    directory = settings.data_dir.expanduser().absolute()
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    return judge_disk(str(directory), shutil.disk_usage(existing).free, writable=os.access(existing, os.W_OK | os.X_OK))


async def check_versions(_settings: Settings) -> list[Finding]:
    """Name the versions that matter in a report of a problem."""
    try:
        found = [f"{name} {version(name)}" for name in _PACKAGES]
    except PackageNotFoundError as error:
        return [Finding("versions", Verdict.FAIL, f"{error.name} is not installed", "Install again, with `./dev`")]
    return [Finding("versions", Verdict.OK, ", ".join([f"python {platform.python_version()}", *found]))]
