"""`portfolio report`: realized gains, lot by lot, from the journal."""

import asyncio
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from infra.errors import RemediableError
from infra.settings import load_settings
from portfolio.book import DEFAULT_CASH_ASSETS
from portfolio.lots import Gain, LotMethod, Movement, movements, realized_gains
from portfolio.money import ONE, plain, ratio
from portfolio.replay import InvalidLine, Replay, read_lines

if TYPE_CHECKING:
    import polars as pl


class ReportKind(StrEnum):
    """What a report is about."""

    GAINS = "gains"


class ReportFormat(StrEnum):
    """How a report is written."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class GainRow(msgspec.Struct, frozen=True):
    """One line of the report; money in the reporting currency, times in ISO 8601, UTC."""

    account: str
    asset: str
    quantity: str
    acquired: str | None
    disposed: str
    cost: str
    proceeds: str
    gain: str
    symbol: str
    kind: str
    missing_acquisition: bool


_MONEY = ("quantity", "cost", "proceeds", "gain")


def report(
    kind: Annotated[ReportKind, typer.Argument(help="gains: what each disposal gained over the lots it used up.")],
    method: Annotated[LotMethod, typer.Option(help="Which lots are used up first.")] = LotMethod.FIFO,
    year: Annotated[int | None, typer.Option(help="Disposals of this year only (UTC).")] = None,
    account: Annotated[str | None, typer.Option(help="This account only; default: all.")] = None,
    format: Annotated[ReportFormat, typer.Option(help="csv and json are exact to the last digit.")] = ReportFormat.CSV,  # noqa: A002
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Events to read, as for `portfolio replay`, not the database.")
    ] = None,
    reporting: Annotated[str, typer.Option(help="Reporting currency, with --file.")] = "USDT",
) -> None:
    """Report realized gains with the acquisition and the disposal of each lot.

    Example: portfolio report gains --method fifo --year 2025 --format csv

    The source is the journal in Postgres (DATABASE_URL), or a file of events. Lots are made from every acquisition
    since the account's first event, also with --year. A fee paid in an asset disposes of it, kind `fee`.
    """
    del kind  # there is one kind so far, and it is named on the command line
    journals = _journals_of_file(file, reporting) if file is not None else _journals_of_database()
    gains = chain.from_iterable(
        _rows(name, realized_gains(moves, method), year) for name, moves in journals if account in {None, name}
    )
    _write(gains, format, output)


def _journals_of_file(file: Path, reporting: str) -> Iterator[tuple[str, Iterable[Movement]]]:
    books = Replay(reporting.upper(), DEFAULT_CASH_ASSETS, keep_journal=True)
    try:
        with file.open(encoding="utf-8", newline="") as text:
            for _ in books.read(read_lines(text)):
                pass
    except InvalidLine as error:
        print(f"{file}: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RemediableError(f"{file} cannot be read: {error}", "Give the path of a readable text file") from error
    for replay in books.accounts:
        yield replay.book.account, movements(replay.journal, replay.book.reporting)


def _journals_of_database() -> Iterable[tuple[str, Iterable[Movement]]]:
    from infra.postgres.errors import DatabaseError
    from infra.postgres.journal import read_movements

    try:
        return asyncio.run(read_movements(load_settings().database_dsn)).items()
    except DatabaseError as error:
        remedy = "Start the service (portfolio up), set DATABASE_URL, or name a file of events with --file"
        raise RemediableError(f"the journal cannot be read: {error}", remedy) from error


def _rows(account: str, gains: Iterable[Gain], year: int | None) -> Iterator[GainRow]:
    for gain in gains:
        disposed = _moment(gain.disposed_time_us)
        if year is None or disposed.year == year:
            yield GainRow(
                account=account,
                asset=gain.asset,
                quantity=plain(gain.quantity),
                acquired=None if gain.acquired_time_us is None else _moment(gain.acquired_time_us).isoformat(),
                disposed=disposed.isoformat(),
                cost=plain(gain.cost),
                proceeds=plain(gain.proceeds),
                gain=plain(gain.gain),
                symbol=gain.symbol,
                kind=gain.kind,
                missing_acquisition=gain.is_missing,
            )


def _moment(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)


def _write(rows: Iterable[GainRow], form: ReportFormat, output: Path | None) -> None:
    listed = list(rows)
    data = msgspec.json.encode(listed) + b"\n" if form is ReportFormat.JSON else _frame_bytes(listed, form)
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise RemediableError(f"{output} cannot be written: {error.strerror}", "Choose another --output") from error


def _frame_bytes(rows: list[GainRow], form: ReportFormat) -> bytes:
    from io import BytesIO

    import polars as pl

    schema = {name: pl.Boolean if name == "missing_acquisition" else pl.String for name in GainRow.__struct_fields__}
    frame = pl.DataFrame([msgspec.structs.asdict(row) for row in rows], schema=schema)
    buffer = BytesIO()
    if form is ReportFormat.CSV:
        frame.write_csv(buffer)
    else:
        _with_numbers(frame).write_parquet(buffer)
    return buffer.getvalue()


def _with_numbers(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Numeric columns for Parquet: its decimals have 18 places, so costs of divided lots are rounded there."""
    from decimal import Decimal

    import polars as pl

    kind = pl.Decimal(38, 18)
    return frame.with_columns(
        pl.Series(name, [ratio(Decimal(text), ONE) for text in frame[name]], dtype=kind) for name in _MONEY
    )
