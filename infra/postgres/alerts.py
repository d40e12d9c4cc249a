"""Alerts and silences in Postgres, for whoever looks back: every alert with its last state, also long after."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from portfolio.alerts.engine import Alert, AlertStatus, Silence
from portfolio.alerts.rules import Severity

Connection = asyncpg.Connection | PoolConnectionProxy


async def write_alerts(connection: Connection, alerts: Iterable[Alert]) -> None:
    """Store alerts as they are now; an older state than the stored one changes nothing."""
    await connection.executemany(_UPSERT_ALERT, [_row(alert) for alert in alerts])


async def write_silences(connection: Connection, silences: Iterable[Silence]) -> None:
    """Store silences as they are now."""
    rows = [
        (one.id, one.rule, one.account, one.until_us, one.by, _storable(one.reason), one.time_us) for one in silences
    ]
    await connection.executemany(_UPSERT_SILENCE, rows)


async def newest_alerts(
    connection: Connection,
    *,
    limit: int,
    accounts: Collection[str] | None = None,
    status: AlertStatus | None = None,
    before: tuple[int, str] | None = None,
) -> Sequence[Alert]:
    """Alerts, those raised last first.

    Args:
        connection: A connection that may read.
        limit: At most so many.
        accounts: Only those of these accounts; None: all, also those of no single account.
        status: Only those that are still open, or only those that are over.
        before: `raised_time_us` and `id` of the last one of the page before.
    """
    time_us, last_id = before or (None, "")
    rows = await connection.fetch(
        _SELECT_ALERTS, limit, None if accounts is None else list(accounts), status, time_us, last_id
    )
    return [
        Alert(
            **{name: row[name] for name in _SHARED},
            severity=Severity(row["severity"]),
            status=AlertStatus(row["status"]),
            targets=tuple(row["targets"]),
        )
        for row in rows
    ]


async def silences_in_force(connection: Connection, now_us: int) -> Sequence[Silence]:
    """The silences that have not ended."""
    rows = await connection.fetch(_SELECT_SILENCES, now_us)
    return [Silence(**dict(row)) for row in rows]


_SHARED: Final = (
    *("id", "rule", "kind", "account", "subject", "text", "raised_time_us", "changed_time_us", "cleared_time_us"),
    *("silenced", "acknowledged_by", "acknowledged_time_us", "told_time_us"),
)
_COLUMNS: Final = (*_SHARED, "severity", "status", "targets")


def _row(alert: Alert) -> tuple[object, ...]:
    values = {name: getattr(alert, name) for name in _COLUMNS} | {"targets": list(alert.targets)}
    return tuple(_storable(value) if isinstance(value, str) else value for value in values.values())


def _storable(text: str) -> str:
    return text.replace("\0", "")


_UPSERT_ALERT: Final = (
    f"INSERT INTO alerts ({', '.join(_COLUMNS)}) "  # noqa: S608 - fixed names
    f"VALUES ({', '.join(f'${number}' for number in range(1, len(_COLUMNS) + 1))}) ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS if column != "id")
    + " WHERE excluded.changed_time_us >= alerts.changed_time_us"
)
_UPSERT_SILENCE: Final = """
    INSERT INTO alert_silences (id, rule, account, until_us, "by", reason, time_us) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (id) DO UPDATE SET until_us = excluded.until_us, reason = excluded.reason, time_us = excluded.time_us
    WHERE excluded.time_us >= alert_silences.time_us
"""
_SELECT_ALERTS: Final = (
    f"SELECT {', '.join(_COLUMNS)} FROM alerts "  # noqa: S608 - fixed names
    "WHERE ($2::text[] IS NULL OR account = ANY($2)) AND ($3::text IS NULL OR status = $3) "
    "AND ($4::bigint IS NULL OR (raised_time_us, id) < ($4, $5)) ORDER BY raised_time_us DESC, id DESC LIMIT $1"
)
_SELECT_SILENCES: Final = """
    SELECT id, rule, account, until_us, "by", reason, time_us FROM alert_silences WHERE until_us > $1 ORDER BY until_us
"""
