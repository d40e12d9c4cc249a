"""Changes of the configuration, for the audit trail: each part says at its start what it was started with."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

import msgspec
from pydantic import SecretStr

from infra.backoff import backoff_s
from infra.postgres.audit import new_entry, record
from infra.postgres.connection import connected
from infra.postgres.errors import DatabaseError
from infra.settings import Settings
from portfolio.audit import AuditKind

logger = logging.getLogger(__name__)

_BACKOFF_FIRST_S: Final = 1.0
_BACKOFF_MAX_S: Final = 60.0
_OF_THE_MACHINE: Final = {"data_dir", "cache_dir"}
_VALUE_MAX: Final = 500


def described_settings(settings: Settings) -> dict[str, str]:
    """The settings by name as text; of a secret only whether it is set. Where this machine keeps files is left out."""
    described: dict[str, str] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name not in _OF_THE_MACHINE:
            described[name] = _described(value)
    return described


async def note_configuration(dsn: str, part: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Put what changed since the last time into the audit trail, with what it was before; nothing when nothing did.

    Args:
        dsn: postgresql://user:password@host:port/name.
        part: Which part of the service: `worker`, `gateway`, `api`, `alerts`.
        settings: Its settings by name, without secrets.

    Returns:
        What changed, as it is in the trail.

    Raises:
        DatabaseUnavailable: Nothing is noted.
        SchemaOutdated: The database was not migrated.
    """
    async with connected(dsn) as connection, connection.transaction():
        # Several workers start at once; one of them tells.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"portfolio.part.{part}")
        stored = await connection.fetchval("SELECT settings FROM audit_configurations WHERE part = $1", part)
        before = None if stored is None else msgspec.json.decode(stored, type=dict[str, str])
        changed = _changes(before, settings)
        if not changed and before is not None:
            return {}
        action = "first seen" if before is None else "changed"
        entry = new_entry(AuditKind.CONFIGURATION, action, actor=part, subject=part, details=changed)
        await record(connection, entry)
        await connection.execute(_UPSERT, part, msgspec.json.encode(dict(settings)).decode())
        return changed


async def keep_trying_to_note(settings: Settings, part: str) -> None:
    """`note_configuration` of the process's own settings, as soon as the database is there. For a task beside the work.

    Args:
        settings: What the process was started with.
        part: Which part of the service it is.
    """
    attempt = 0
    while True:
        try:
            changed = await note_configuration(settings.database_dsn, part, described_settings(settings))
        except DatabaseError as error:
            logger.debug("the configuration is not in the audit trail yet: %s", error)
            await asyncio.sleep(backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S))
            attempt += 1
        else:
            if changed:
                logger.info("the configuration is not that of the last start: %s", "; ".join(sorted(changed)))
            return


def _changes(before: Mapping[str, str] | None, after: Mapping[str, str]) -> dict[str, str]:
    if before is None:
        return dict(after)
    names = sorted(before.keys() | after.keys())
    return {
        name: f"{before.get(name, '(none)')} -> {after.get(name, '(none)')}"
        for name in names
        if before.get(name) != after.get(name)
    }


def _described(value: object) -> str:
    if isinstance(value, SecretStr):
        return "(set)"
    if value is None:
        return "(not set)"
    if isinstance(value, frozenset):
        return ",".join(sorted(str(each) for each in value))[:_VALUE_MAX]
    return str(value)[:_VALUE_MAX]


_UPSERT: Final = """
    INSERT INTO audit_configurations (part, settings) VALUES ($1, $2::jsonb)
    ON CONFLICT (part) DO UPDATE SET settings = excluded.settings
"""
