"""What Postgres says of an account, figure by figure, for whoever compares it with another copy."""

from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

from infra.postgres.connection import connected

Figures: TypeAlias = dict[tuple[str, str], Decimal | int | str]
"""Subject and field to value; what is zero is left out."""


class Stored(NamedTuple):
    """An account as the tables have it."""

    log_offset: int
    figures: Figures


_ACCOUNT: Final = """
    SELECT log_offset, sequence, net_flows, realized, fees, twr_index, revision, checksum FROM accounts
    WHERE account = $1
"""
_BY_SUBJECT: Final = (
    (
        "asset",
        """
        SELECT asset AS subject, quantity, cost, free AS exchange_free, locked AS exchange_locked
        FROM balances WHERE account = $1
        """,
    ),
    (
        "symbol",
        "SELECT symbol AS subject, realized, fees, volume, fills FROM symbol_totals WHERE account = $1",
    ),
    (
        "position",
        """
        SELECT asset AS subject, id, quantity, realized, fees, fills, open_time_us
        FROM positions WHERE account = $1 AND status = 'open'
        """,
    ),
    (
        "fills of",
        """
        SELECT symbol AS subject, count(*) AS fills, sum(value) AS volume
        FROM fills WHERE account = $1 GROUP BY symbol
        """,
    ),
    (
        "journal",
        """
        SELECT '' AS subject, sum(flow) AS net_flows, sum(realized) AS realized, sum(fee) AS fees
        FROM journal_entries WHERE account = $1
        """,
    ),
)


async def read_figures(dsn: str, account: str) -> Stored | None:
    """The figures of an account, all of one moment; None where the tables have nothing of it.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
        SchemaOutdated: It was not migrated.
    """
    async with (
        connected(dsn, command_timeout_s=None) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        row = await connection.fetchrow(_ACCOUNT, account)
        if row is None:
            return None
        figures: Figures = {("account", name): row[name] for name in set(row.keys()) - {"log_offset"}}
        for kind, statement in _BY_SUBJECT:
            for line in await connection.fetch(statement, account):
                subject = f"{kind} {line['subject']}".strip()
                figures |= {(subject, name): line[name] for name in set(line.keys()) - {"subject"} if line[name]}
    return Stored(row["log_offset"], {place: value for place, value in figures.items() if value})


async def stored_accounts(dsn: str) -> set[str]:
    """The accounts that the tables have.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
        SchemaOutdated: It was not migrated.
    """
    async with connected(dsn) as connection:
        return {row["account"] for row in await connection.fetch("SELECT account FROM accounts")}
