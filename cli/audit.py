"""`portfolio audit`."""

import asyncio
import json as json_format
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.errors import RemediableError
from infra.postgres.audit_reader import AuditLine, newest_entries
from infra.postgres.connection import connected
from infra.postgres.errors import DatabaseError
from infra.settings import Settings, load_settings
from portfolio.audit import AuditKind
from streams.audit_verification import Verification, parse_anchor, verify

_DETAILS_SHOWN_MAX = 160


class Action(StrEnum):
    """What to do."""

    LIST = "list"
    VERIFY = "verify"


def audit(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    *,
    kind: Annotated[AuditKind | None, typer.Option(help="List only this kind.")] = None,
    actor: Annotated[str | None, typer.Option(help="List only what this one did.")] = None,
    account: Annotated[str | None, typer.Option(help="List only what concerns this account.")] = None,
    limit: Annotated[int, typer.Option(help="List at most so many.", min=1, max=10_000)] = 50,
    anchor: Annotated[
        str | None, typer.Option(metavar="OFFSET:HASH", help="A head noted earlier, which the trail must still have.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the audit trail, or verify that nothing in it was removed, changed or moved.

    `verify` computes the chain of hashes anew from the topic, compares it with the copy in Postgres, and looks up each
    correction in the log of record. It says what is wrong and where, and exits with 1 when something is. Note the head
    that it prints somewhere else: given back with --anchor, it shows also what was changed in both copies.

    Example: portfolio audit list --kind correction; portfolio audit verify
    """
    # Each failed attempt to connect would be a line of its own, beside ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    settings = load_settings()
    try:
        if action is Action.LIST:
            _list(asyncio.run(_newest(settings, limit, kind, actor, account)), as_json=json)
            return
        place = None if anchor is None else parse_anchor(anchor)
        found = asyncio.run(verify(settings, place))
    except DatabaseError as error:
        raise RemediableError(str(error), "`portfolio doctor` says what is missing") from error
    _tell(found, as_json=json)
    if found.findings:
        sys.exit(1)


async def _newest(
    settings: Settings, limit: int, kind: AuditKind | None, actor: str | None, account: str | None
) -> Sequence[AuditLine]:
    async with connected(settings.database_dsn) as connection:
        accounts = None if account is None else [account]
        return await newest_entries(connection, limit=limit, kind=kind, actor=actor, accounts=accounts)


def _list(lines: Sequence[AuditLine], *, as_json: bool) -> None:
    if as_json:
        print(json_format.dumps([_line(line) for line in lines], indent=2))
        return
    table = Table(box=None, header_style="bold")
    for heading in ("offset", "time", "kind", "action"):
        table.add_column(heading, no_wrap=True)
    for heading in ("who", "account", "what", "details"):
        table.add_column(heading, overflow="fold")
    for line in lines:
        entry = line.entry
        details = ", ".join(f"{name}={value}" for name, value in entry.details.items())
        if len(details) > _DETAILS_SHOWN_MAX:
            details = f"{details[:_DETAILS_SHOWN_MAX]}... (--json has all)"
        table.add_row(
            *(str(line.offset), _time(entry.time_us), entry.kind, entry.action),
            *(entry.actor, entry.account, entry.subject, details),
        )
    Console(markup=False, highlight=False).print(table if lines else "the audit trail has no such entry")


def _line(line: AuditLine) -> dict[str, object]:
    entry = line.entry
    return {
        "offset": line.offset,
        "hash": line.hash,
        "id": entry.id,
        "time": _time(entry.time_us),
        "kind": entry.kind.value,
        "action": entry.action,
        "actor": entry.actor,
        "account": entry.account,
        "subject": entry.subject,
        "details": entry.details,
    }


def _tell(found: Verification, *, as_json: bool) -> None:
    if as_json:
        findings = [finding._asdict() | {"fault": finding.fault.value} for finding in found.findings]
        print(json_format.dumps({"entries": found.entries, "head": str(found.head), "findings": findings}, indent=2))
        return
    for finding in found.findings:
        print(f"offset {finding.offset}: {finding.fault} ({finding.where}): {finding.text}")
    if found.findings:
        print(f"{len(found.findings)} of {found.entries} entries are not as they were")
    elif found.entries == 0:
        print("the audit trail is empty")
    else:
        print(f"{found.entries} entries, unbroken; head {found.head}")


def _time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")
