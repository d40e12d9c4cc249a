"""`portfolio backup`."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infra.postgres.dumps import dump, restore
from infra.settings import load_settings


class Action(StrEnum):
    """What to do."""

    CREATE = "create"
    RESTORE = "restore"


def backup(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before replacing the database.")] = False,
) -> None:
    """Write Postgres to a file, or replace it by what is in a file.

    Both may be done while the service runs. After a restore the workers write what has happened since the backup once
    more, from the journal; it must not be older than the journal is kept (7 days, PORTFOLIO_RETENTION_DAYS=journal=30).
    The log of record and the books are Kafka's: see docs/operations.md for those.

    Example: portfolio backup create portfolio.dump; portfolio backup restore portfolio.dump
    """
    settings = load_settings()
    began = time.monotonic()
    if action is Action.CREATE:
        dump(settings.database_dsn, file)
        print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB in {time.monotonic() - began:.1f} s")
        return
    if not yes:
        typer.confirm(f"Replace everything in Postgres by {file}?", abort=True, err=True)
    restore(settings.database_dsn, file)
    print(f"{file} restored in {time.monotonic() - began:.1f} s; the workers write what has happened since")
