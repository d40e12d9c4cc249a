"""Reading the audit trail: the newest entries for a person, and the whole chain for whoever checks it."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final, NamedTuple

import asyncpg
import msgspec

from infra.postgres.audit import Columns, Connection, decode_entry
from portfolio.audit import AuditEntry, AuditKind

_BATCH: Final = 1_000


class AuditLine(NamedTuple):
    """An entry with its place in the chain."""

    offset: int
    hash: str
    """In hexadecimal."""
    entry: AuditEntry


class ChainRow(NamedTuple):
    """A row of the chain, just as it is kept."""

    offset: int
    columns: Columns
    record: bytes
    hash: bytes


async def newest_entries(
    connection: Connection,
    *,
    limit: int,
    before: int | None = None,
    kind: AuditKind | None = None,
    actor: str | None = None,
    accounts: Collection[str] | None = None,
    since_us: int = 0,
) -> Sequence[AuditLine]:
    """Entries of the trail, newest first. What was written again after a crash is shown once.

    Args:
        connection: A connection that may read.
        limit: At most so many.
        before: Only entries before this offset: where the page before ended.
        kind: Only this kind.
        actor: Only what this one did.
        accounts: Only what concerns these accounts; None: everything.
        since_us: Only what happened at or after this time, epoch microseconds.
    """
    rows = await connection.fetch(
        _SELECT_NEWEST, limit, before, kind, actor, None if accounts is None else list(accounts), since_us
    )
    # The record, not the columns beside it, is what the hash is about.
    entries = ((row, decode_entry(row["record"])) for row in rows)
    return [AuditLine(row["log_offset"], row["hash"].hex(), entry) for row, entry in entries if entry is not None]


async def chain_rows(connection: Connection) -> AsyncIterator[ChainRow]:
    """Every row of the chain by offset; of one moment, when the connection is in a repeatable read."""
    last = -(2**62)
    while rows := await connection.fetch(_SELECT_CHAIN, last, _BATCH):
        for row in rows:
            yield ChainRow(row["log_offset"], _columns(row), row["record"], row["hash"])
        last = rows[-1]["log_offset"]


def _columns(row: asyncpg.Record) -> Columns:
    return Columns(
        offset=row["log_offset"],
        id=row["id"],
        time_us=row["time_us"],
        kind=row["kind"],
        action=row["action"],
        actor=row["actor"],
        account=row["account"],
        subject=row["subject"],
        details=msgspec.json.decode(row["details"]),
    )


_SELECT_NEWEST: Final = """
    SELECT log_offset, record, hash
    FROM audit_entries AS newest
    WHERE kind <> 'unreadable' AND time_us >= $6
      AND ($2::bigint IS NULL OR log_offset < $2) AND ($3::text IS NULL OR kind = $3)
      AND ($4::text IS NULL OR actor = $4) AND ($5::text[] IS NULL OR account = ANY($5))
      AND NOT EXISTS (
          SELECT FROM audit_entries AS earlier WHERE earlier.id = newest.id AND earlier.log_offset < newest.log_offset
      )
    ORDER BY log_offset DESC
    LIMIT $1
"""
_SELECT_CHAIN: Final = """
    SELECT log_offset, id, time_us, kind, action, actor, account, subject, details, record, hash
    FROM audit_entries
    WHERE log_offset > $1
    ORDER BY log_offset
    LIMIT $2
"""
