"""`portfolio replay`: the books of a file, with no broker and no database."""

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from portfolio.book import DEFAULT_CASH_ASSETS
from portfolio.errors import InvalidEvent, MissingRate, PortfolioError
from portfolio.events import Marks
from portfolio.money import amount
from portfolio.replay import AccountReport, InvalidLine, Line, Replay, read_lines, report_account

_WARNINGS_SHOWN = 20
_WORTH_PROGRESS_BYTES = 1_000_000


def replay(
    file: Annotated[Path, typer.Argument(help="JSON lines, a myTrades array, or a trade-history CSV; - for stdin.")],
    reporting: Annotated[str, typer.Option(help="Currency in which the books are kept.")] = "USDT",
    account: Annotated[str, typer.Option(help="Account of lines and formats that name none.")] = "main",
    rate: Annotated[
        list[str] | None,
        typer.Option(help="ASSET=PRICE in the reporting currency, for what the file does not price. Repeatable."),
    ] = None,
    cash: Annotated[str, typer.Option(help="Assets that open no position, comma-separated.")] = ",".join(
        sorted(DEFAULT_CASH_ASSETS)
    ),
    as_of: Annotated[
        str | None, typer.Option(help="Only what had happened by then: 2025-12-31T23:59:59Z, or epoch milliseconds.")
    ] = None,
    lines: Annotated[int | None, typer.Option(help="Only the first so many lines.", min=1)] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, one for each account.")] = False,
) -> None:
    """Fold a file of fills and flows into books, and tell what each account holds, cost and earned.

    Example: portfolio replay trades.jsonl --reporting USDT --json

    Lines of a JSON-lines file: {"type":"fill", ...}, {"type":"flow", ...}, {"type":"marks", ...}; docs/replay.md has
    every field. A malformed line ends the run with exit code 2, its number and what is wrong.
    """
    books = Replay(reporting.upper(), {asset.strip().upper() for asset in cash.split(",") if asset.strip()})
    try:
        with _opened(file) as (text, total):
            events = _until(read_lines(text, account=account), as_of, lines)
            for _ in _progress(books.read(_with_rates(events, rate or [])), total):
                pass
    except InvalidLine as error:
        cause = error.__cause__
        _fail(
            f"{file}: {error}" + (f"; or give --rate {cause.asset}=<price>" if isinstance(cause, MissingRate) else "")
        )
    except OSError as error:
        _fail(f"{file}: {error.strerror or error}; give the path of a readable file")
    reports = [report_account(each) for each in books.accounts]
    if json:
        for report in reports:
            sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()
    else:
        _show(reports, file)


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(2)


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Iterable[str], int | None]]:
    # What is not UTF-8 is let through, so that the reader can name its line.
    if str(file) == "-":
        text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="surrogateescape", newline="")
        try:
            yield text, None
        finally:
            text.detach()
        return
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as text:
        yield text, file.stat().st_size


def _until(lines: Iterator[Line], as_of: str | None, count: int | None) -> Iterator[Line]:
    last_us = None if as_of is None else _time_us(as_of)
    for line in lines:
        if count is not None and line.number > count:
            continue  # an export is in no order of its lines, so a later event may be of an earlier line
        if last_us is None or line.event.time_us <= last_us:
            yield line


def _time_us(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text) * 1_000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        _fail(f"--as-of {text}: not a time; write it as 2025-12-31T23:59:59Z, or as epoch milliseconds")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _with_rates(lines: Iterator[Line], rates: list[str]) -> Iterator[Line]:
    given: dict[str, Decimal] = {}
    for rate in rates:
        asset, _, price = rate.partition("=")
        try:
            if not asset.strip():
                raise InvalidEvent("no asset is named")
            marks = Marks(time_us=0, rates={asset.strip().upper(): amount(price.strip())})
        except PortfolioError as error:
            _fail(f"--rate {rate}: {error}; write it as BNB=512.30")
        given |= marks.rates
    if given:
        yield Line(0, None, Marks(time_us=0, rates=given))
    yield from lines


def _progress(numbers: Iterator[int], size: int | None) -> Iterator[int]:
    if not sys.stderr.isatty() or (size is not None and size < _WORTH_PROGRESS_BYTES):
        yield from numbers
        return
    columns = (TextColumn("{task.completed:,} lines"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("folding", total=None)
        for number in numbers:
            if number % 1_000 == 0:
                progress.update(task, completed=number)
            yield number


def _show(reports: list[AccountReport], file: Path) -> None:
    console = Console()
    if not reports:
        console.print(f"{file} has no events. See `portfolio replay --help` for what a line looks like.")
    for report in reports:
        console.print(
            f"[bold]{report.account}[/]  equity {report.equity} {report.reporting}"
            f"  realized {report.realized}  unrealized {report.unrealized}  fees {report.fees}"
            f"  net flows {report.net_flows}"
        )
        console.print(_table("Holdings", report.holdings, ("asset", "quantity", "cost", "mark", "value", "unrealized")))
        console.print(
            _table(
                "Positions",
                report.positions,
                ("symbol", "status", "quantity", "entry_price", "exit_price", "realized", "fees", "fills"),
            )
        )
        console.print(_table("By symbol", report.by_symbol, ("symbol", "realized", "fees", "volume", "fills")))
        for warning in report.warnings[:_WARNINGS_SHOWN]:
            console.print(f"[yellow]warning[/] {warning}")
        if len(report.warnings) > _WARNINGS_SHOWN:
            console.print(f"[yellow]and {len(report.warnings) - _WARNINGS_SHOWN} more[/]; --json lists all")


def _table(title: str, rows: Iterable[object], columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(
            column.replace("_", " "), justify="left" if column in {"asset", "symbol", "status"} else "right"
        )
    for row in rows:
        cells = (getattr(row, column) for column in columns)
        table.add_row(*("" if cell is None else str(cell) for cell in cells))
    return table
