"""`portfolio executions`."""

import asyncio
import contextlib
import logging
import signal
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from infra.settings import Settings

_LISTED_MAX: Final = 1_000


def executions(
    *,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of this process in the consumer group; the host's when not given. Keep it over restarts."
        ),
    ] = None,
    claim_after: Annotated[
        float, typer.Option(help="Seconds after which another process's pending entries are taken over.", min=0.1)
    ] = 60.0,
    findings: Annotated[
        bool, typer.Option("--findings", help="Only list what does not fit the exchange's fills now, and end.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --findings: print JSON, one object a line.")] = False,
) -> None:
    """Carry executions that bots announce in Redis to Kafka, and hold them against the exchange's fills.

    Streams (PORTFOLIO_EXECUTION_STREAMS) are read through a consumer group, and an entry is acknowledged once Kafka has
    it: it may be killed at any moment, and nothing is lost. Channels (PORTFOLIO_EXECUTION_CHANNELS) are followed by
    pattern; Redis keeps nothing of them while nobody listens. Two processes at once need two names.

    In Postgres each execution is compared with its fill, which gets its strategy and cycle. An execution without a fill
    after PORTFOLIO_EXECUTION_GRACE_S, a fill that no bot announced in an account whose bots announce, and two that
    differ are told on portfolio.execution-findings.

    Example: PORTFOLIO_EXECUTION_STREAMS=bot:fills portfolio executions --name bots-1

    Example: portfolio executions --findings
    """
    from infra.settings import load_settings
    from infra.telemetry.logs import configure_logging
    from streams.executions.service import run_executions

    settings = load_settings()
    if findings:
        asyncio.run(_list_findings(settings, as_json=json))
        return
    configure_logging(settings, "executions")
    # While the brokers are away it writes hundreds of lines a second; what follows from it is logged by the service.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def run(settings: "Settings") -> None:
        task = asyncio.create_task(
            run_executions(settings, consumer=name or socket.gethostname(), claim_after_s=claim_after)
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run(settings))


async def _list_findings(settings: "Settings", *, as_json: bool) -> None:
    import msgspec
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from infra.errors import RemediableError
    from infra.postgres.errors import DatabaseError
    from infra.postgres.executions import ExecutionStore

    store = ExecutionStore(settings.database_dsn)
    try:
        found = await store.findings(_LISTED_MAX)
    except DatabaseError as error:
        raise RemediableError(f"the findings cannot be read: {error}", "Start the database, or set DATABASE_URL") from (
            error
        )
    finally:
        await store.close()
    if as_json:
        for each in found:
            print(msgspec.json.encode(each).decode())
        return
    if not found:
        print("Nothing: every execution has its fill, and every fill its execution where bots announce.")
        return
    table = Table("since", "account", "finding", "what", "strategy", box=None, pad_edge=False)
    for each in found:
        since = datetime.fromtimestamp(each.found_time_us / 1_000_000, UTC).isoformat(" ", "seconds")
        # What a bot sent is text, not markup.
        table.add_row(*(Text(text) for text in (since, each.account, each.finding, each.detail, each.strategy)))
    Console().print(table)
    if len(found) == _LISTED_MAX:
        print(f"These are the newest {_LISTED_MAX}.")
