"""The journal as it stands in Postgres, for reports over all of an account's history."""

from decimal import Decimal

import asyncpg
import msgspec

from infra.postgres.errors import translated_errors
from portfolio.journal import Entry, EntryKind, Posting
from portfolio.lots import Movement, entry_movements

_postings = msgspec.json.Decoder(tuple[Posting, ...])

_QUERY = """
    SELECT entry.account, account.reporting, entry.time_us, entry.kind, entry.symbol, entry.postings,
           flow.kind AS flow_kind
    FROM journal_entries AS entry
    JOIN accounts AS account USING (account)
    LEFT JOIN flows AS flow ON flow.account = entry.account AND flow.sequence = entry.sequence
    ORDER BY entry.account, entry.sequence, entry.leg
"""


async def read_movements(dsn: str) -> dict[str, list[Movement]]:
    """Every movement of every account, in the order of the journal.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    journals: dict[str, list[Movement]] = {}
    with translated_errors():
        connection = await asyncpg.connect(dsn)
        try:
            async with connection.transaction(readonly=True):
                async for row in connection.cursor(_QUERY, prefetch=1_000):
                    journals.setdefault(row["account"], []).extend(_movements(row))
        finally:
            await connection.close()
    return journals


def _movements(row: asyncpg.Record) -> list[Movement]:
    entry = Entry(
        kind=EntryKind(row["kind"]),
        postings=_postings.decode(row["postings"]),
        symbol=row["symbol"],
        value=Decimal(0),
    )
    return list(entry_movements(entry, time_us=row["time_us"], flow_kind=row["flow_kind"], reporting=row["reporting"]))
