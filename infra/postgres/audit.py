"""The audit trail in Postgres: the way in for whoever cannot or need not speak Kafka, and the copy that is chained.

`record` puts an entry into an outbox, in the transaction of what it tells of, so that there is neither a deed without
its entry nor an entry without its deed. A worker carries it to the topic of the trail, where it gets its offset, and
from there back here with its hash.
"""

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from infra.postgres.connection import connected
from portfolio.audit import GENESIS, AuditEntry, AuditKind, chained_hash

Connection = asyncpg.Connection | PoolConnectionProxy

_LOCK_OUTBOX: Final = 0x6175646974_01
_LOCK_CHAIN: Final = 0x6175646974_02
_UNREADABLE: Final = "unreadable"


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(AuditEntry)


class Place(NamedTuple):
    """A place in the chain: an offset, and the hash there."""

    offset: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.offset}:{self.hash.hex()}"


BEGINNING: Final = Place(-1, GENESIS)
"""Before the first entry."""


class Columns(NamedTuple):
    """The columns of `audit_entries` that a person reads, beside the record that they are taken from."""

    offset: int
    id: str
    time_us: int
    kind: str
    action: str
    actor: str
    account: str
    subject: str
    details: dict[str, str]


class ChainBroken(Exception):
    """The topic of the trail does not continue what Postgres has; one of the two was tampered with."""


def new_entry(
    kind: AuditKind,
    action: str,
    *,
    actor: str,
    account: str = "",
    subject: str = "",
    details: Mapping[str, str] | None = None,
) -> AuditEntry:
    """An entry of now, with an id of its own.

    Args:
        kind: What it is about.
        action: What was done.
        actor: Who did it.
        account: The account it concerns, where it is one.
        subject: What it was done to.
        details: Whatever else there is to say; never a secret.
    """
    return AuditEntry(
        id=secrets.token_hex(16),
        time_us=time.time_ns() // 1_000,
        kind=kind,
        action=action,
        actor=actor,
        account=account,
        subject=subject,
        details=dict(details or {}),
    )


def encode_entry(entry: AuditEntry) -> bytes:
    """The entry as it stands on the topic."""
    return _encoder.encode(entry)


def decode_entry(record: bytes) -> AuditEntry | None:
    """The inverse of `encode_entry`; None where the bytes are no entry."""
    try:
        return _decoder.decode(record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


async def record(connection: Connection, entry: AuditEntry) -> None:
    """Put an entry into the audit trail, in the transaction that the connection is in.

    Args:
        connection: Where the deed itself is written; the entry is there if and only if the deed is.
        entry: Made by `new_entry`.
    """
    await connection.execute("INSERT INTO audit_outbox (record) VALUES ($1)", encode_entry(entry))


async def record_alone(dsn: str, entry: AuditEntry) -> None:
    """Put an entry into the audit trail that tells of something done elsewhere.

    Raises:
        DatabaseUnavailable: It is not recorded.
        SchemaOutdated: The database was not migrated.
    """
    async with connected(dsn) as connection:
        await record(connection, entry)


@asynccontextmanager
async def taken_from_outbox(connection: Connection, limit: int) -> AsyncIterator[list[bytes]]:
    """The oldest entries that wait, which leave the outbox when the block ends well.

    One at a time takes, so that they reach the topic in their order; the others find nothing.
    """
    async with connection.transaction():
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK_OUTBOX):
            yield []
            return
        rows = await connection.fetch("SELECT number, record FROM audit_outbox ORDER BY number LIMIT $1", limit)
        yield [row["record"] for row in rows]
        await connection.execute(
            "DELETE FROM audit_outbox WHERE number = ANY($1::bigint[])", [row["number"] for row in rows]
        )


async def head(connection: Connection) -> Place:
    """The newest place of the chain; `BEGINNING` when there is none."""
    row = await connection.fetchrow("SELECT log_offset, hash FROM audit_entries ORDER BY log_offset DESC LIMIT 1")
    return BEGINNING if row is None else Place(row["log_offset"], row["hash"])


async def append(connection: Connection, records: Sequence[tuple[int, bytes]]) -> Place:
    """Chain records of the topic to what is there; those that are there already change nothing.

    Args:
        connection: Not in a transaction.
        records: Offset and bytes, in order and without a gap.

    Returns:
        The new head.

    Raises:
        ChainBroken: They do not begin where the chain ends.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_CHAIN)
        last = await head(connection)
        rows = []
        for offset, data in records:
            if offset <= last.offset:
                continue
            if offset != last.offset + 1:
                raise ChainBroken(f"the chain ends at offset {last.offset}, the topic goes on at {offset}")
            last = Place(offset, chained_hash(last.hash, offset, data))
            columns = columns_of(offset, decode_entry(data))
            rows.append((*columns[:-1], _encoder.encode(columns.details).decode(), data, last.hash))
        await connection.executemany(_INSERT, rows)
        return last


def columns_of(offset: int, entry: AuditEntry | None) -> Columns:
    """What the columns say of an entry."""
    if entry is None:
        return Columns(offset, f"{_UNREADABLE}:{offset}", 0, _UNREADABLE, "", "", "", "", {})
    return Columns(
        offset=offset,
        id=_storable(entry.id),
        time_us=entry.time_us,
        kind=entry.kind.value,
        action=_storable(entry.action),
        actor=_storable(entry.actor),
        account=_storable(entry.account),
        subject=_storable(entry.subject),
        details={_storable(name): _storable(value) for name, value in entry.details.items()},
    )


def _storable(text: str) -> str:
    """The text without what Postgres cannot keep; the record itself has it."""
    return text.replace("\0", "")


_COLUMNS: Final = "log_offset, id, time_us, kind, action, actor, account, subject, details"
_INSERT: Final = (
    f"INSERT INTO audit_entries ({_COLUMNS}, record, hash) "  # noqa: S608 - fixed names
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11)"
)
