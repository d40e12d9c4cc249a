"""`portfolio migrate`."""

import asyncio
import sys
from typing import Annotated

import typer


def migrate(
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a database that does not answer.")] = 60.0,
) -> None:
    """Bring the database schema up to date.

    Safe to run at any time and by several processes at once; without anything to do it changes nothing.

    Example: portfolio migrate --wait 10
    """
    from infra.postgres.migrate import address_of
    from infra.postgres.migrate import migrate as run_migrations
    from infra.settings import load_settings

    dsn = load_settings().database_dsn
    before, after = asyncio.run(run_migrations(dsn, wait_s=wait, on_wait=lambda line: print(line, file=sys.stderr)))
    change = f"is at revision {after} already" if before == after else f"went from {before or 'empty'} to {after}"
    print(f"The database at {address_of(dsn)} {change}.")
