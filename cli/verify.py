"""`portfolio verify`."""

import asyncio
import json as json_format
import logging
import sys
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.pipeline import settings_as_started
from infra.binance.errors import RequestRefused
from infra.binance.rest import BinanceRest
from infra.errors import RemediableError
from infra.portfolio_file import AccountConfig, load_accounts
from infra.postgres.errors import DatabaseError
from infra.settings import Settings, load_settings
from portfolio.events import BalanceReport
from streams.verification import Report, all_accounts, read_tables, verify_account

_EXCHANGE_TIMEOUT_S = 30.0


def verify(
    *,
    account: Annotated[list[str] | None, typer.Option(help="Only this account; can be given several times.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the exchange.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare the books that the workers keep, Postgres and the exchange with the log, and show each difference.

    The log is folded anew, up to the record that each copy has come to: one that is catching up is behind, not wrong.
    The exchange is asked with the account's own key, which need only read. Nothing is changed. The exit code is 1 if
    anything differs.

    Example: portfolio verify; portfolio verify --account main --json
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    settings = settings_as_started(load_settings())
    try:
        reports = asyncio.run(_verify(settings, account or [], offline=offline))
    except DatabaseError as error:
        raise RemediableError(str(error), "Start Postgres, or set DATABASE_URL; then `portfolio migrate`") from error
    if json:
        print(json_format.dumps([_as_json(report) for report in reports], indent=2))
    else:
        _show(reports)
    if any(report.differences for report in reports):
        raise typer.Exit(1)


async def _verify(settings: Settings, names: list[str], *, offline: bool) -> list[Report]:
    progress = _Progress()
    progress.note("reading the tables of the workers")
    tables = await read_tables(settings)
    known = {config.name: config for config in load_accounts(settings)}
    reports = []
    for name in names or await all_accounts(settings, tables):
        rest = None if offline or name not in known else _client(settings, known[name])
        try:
            reports.append(
                await verify_account(
                    settings,
                    name,
                    tables,
                    exchange=None if rest is None else partial(_balances, rest),
                    on_progress=progress.note,
                )
            )
        except (RequestRefused, TimeoutError) as error:
            raise RemediableError(
                f"the exchange does not tell the balances of account {name} ({error!r})",
                "`portfolio doctor` says why; --offline leaves it out",
            ) from error
        finally:
            if rest is not None:
                await rest.close()
    progress.done()
    return reports


def _client(settings: Settings, account: AccountConfig) -> BinanceRest | None:
    """A client with the account's key; None where it has none."""
    if account.source != "binance" or account.api_key is None or account.secret_key is None:
        return None
    key = account.credentials()
    return BinanceRest(
        rest_url=settings.binance_rest_url,
        api_key=key.key.get_secret_value(),
        secret_key=key.secret.get_secret_value(),
    )


async def _balances(rest: BinanceRest) -> BalanceReport:
    async with asyncio.timeout(_EXCHANGE_TIMEOUT_S):
        await rest.measure_clock()
        return await rest.account()


class _Progress:
    """One line on a terminal."""

    def note(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        self.note("")


def _as_json(report: Report) -> dict[str, Any]:
    return report._asdict() | {"differences": [difference._asdict() for difference in report.differences]}


def _show(reports: list[Report]) -> None:
    if not reports:
        print("there is no account: the log is empty")
    for report in reports:
        compared = "; ".join(report.compared)
        state = "agrees" if not report.differences else f"{len(report.differences)} difference(s)"
        print(f"account {report.account}, {report.events:,} events: {state} ({compared})")
    differences = [difference for report in reports for difference in report.differences]
    if differences:
        table = Table(box=None, header_style="bold")
        for heading in ("account", "copy", "subject", "field", "the log says", "the copy says"):
            table.add_column(heading, overflow="fold")
        for difference in differences:
            table.add_row(*difference)
        Console(markup=False).print(table)
