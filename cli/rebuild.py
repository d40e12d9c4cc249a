"""`portfolio rebuild`."""

import asyncio
import getpass
import json as json_format
import logging
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.by_hand import By
from infra.errors import RemediableError
from infra.postgres.errors import DatabaseError
from infra.postgres.migrate import migrate
from infra.postgres.rebuilding import side_schema
from infra.settings import Settings, load_settings
from streams.rebuilding import Rebuilt, Result, close_gaps, gaps_of_journal, rebuild_account
from streams.verification import accounts_of_log

_SAYS = {
    Result.EQUAL: "is what the log leads to",
    Result.COMPLETED: "lacked rows: replaced",
    Result.REPLACED: "had wrong rows: replaced",
    Result.DIFFERENT: "has wrong rows: left as it is; --accept replaces them",
}


def rebuild(
    *,
    account: Annotated[list[str] | None, typer.Option(help="Only this account; can be given several times.")] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Replace rows that are wrong, too.")] = False,
    by: By = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the tables in Postgres anew from the log, and put them in the place of those that lack or contradict it.

    The log is folded from its start into tables of their own, beside the live ones, which go on meanwhile. Then the two
    are compared, row by row. Where the live ones only lack rows, as after a journal that was kept too briefly, they are
    replaced in one transaction an account. Where they say something else, the differences are shown and nothing is
    replaced without --accept. The exit code is 1 if something is left different.

    Example: portfolio rebuild; portfolio rebuild --account main --accept
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    done, partitions = asyncio.run(
        _rebuild(load_settings(), account or [], accept=accept, actor=by or getpass.getuser(), quiet=json)
    )
    if json:
        print(json_format.dumps([_as_json(one) for one in done], indent=2))
    else:
        _show(done, partitions)
    if any(one.result is Result.DIFFERENT for one in done):
        raise typer.Exit(1)


async def _rebuild(
    settings: Settings, names: list[str], *, accept: bool, actor: str, quiet: bool
) -> tuple[list[Rebuilt], list[int]]:
    """Make accounts anew; returns them, and the partitions of the journal where the sink stood still and goes on."""
    await migrate(settings.database_dsn)
    gaps = await gaps_of_journal(settings)
    accounts = names or sorted(await accounts_of_log(settings))
    if not accounts:
        raise RemediableError("the log has no records", "There is nothing to rebuild")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        tasks: dict[str, TaskID] = {name: progress.add_task(name, total=None) for name in accounts}

        def note(name: str, offset: int, end: int) -> None:
            progress.update(tasks[name], completed=offset, total=end)

        try:
            async with side_schema(settings.database_dsn) as connection:
                done = [
                    await rebuild_account(settings, connection, name, accept=accept, actor=actor, on_progress=note)
                    for name in accounts
                ]
                return done, await close_gaps(settings, connection, gaps, done)
        except DatabaseError as error:
            raise RemediableError(str(error), "Start Postgres, or set DATABASE_URL") from error


def _as_json(one: Rebuilt) -> dict[str, Any]:
    return {
        "account": one.account,
        "result": one.result.value,
        "events": one.events,
        "log_offset": one.log_offset,
        "live_offset": one.live_offset,
        "differences": [asdict(difference) for difference in one.differences],
    }


def _show(done: list[Rebuilt], partitions: list[int]) -> None:
    for one in done:
        print(f"account {one.account}, {one.events:,} events, log offset {one.log_offset}: {_SAYS[one.result]}")
        for table in one.differences:
            print(f"  {table.table}: {table.live_only} rows only there, {table.log_only} only from the log")
            for sample in table.samples:
                print(f"    {sample}")
    if partitions:
        print(f"the sink goes on with partitions {', '.join(map(str, partitions))} of the journal")
