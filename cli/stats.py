"""`portfolio stats`: performance statistics of a CSV file, without broker or database."""

import csv
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn, TypeAlias, TypeVar

import typer

from portfolio.errors import InvalidAmount
from portfolio.money import ZERO, amount
from portfolio.performance import (
    DAY_US,
    EquityPoint,
    Metric,
    UndefinedError,
    alpha,
    beta,
    cagr,
    calmar_ratio,
    expectancy,
    information_ratio,
    max_drawdown,
    money_weighted_return,
    period_return,
    profit_factor,
    sharpe_ratio,
    sortino_ratio,
    total_return,
    volatility,
    win_rate,
)

Statistics: TypeAlias = dict[str, Metric]
_Value = TypeVar("_Value")

_OF_RETURNS = ("total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown")
_OF_TRADES = ("win_rate", "profit_factor", "expectancy")
_OF_CAPITAL = ("time_weighted_return", "money_weighted_return")
_OF_BENCHMARK = ("alpha", "beta", "information_ratio")
_KINDS = (("return",), ("pnl",), ("date", "equity", "flow"))

_NO_TRADES = Metric(None, "needs closed round trips: a file with a column pnl")
_NO_CAPITAL = Metric(None, "a pnl without its capital is no return: needs a column return, or date, equity and flow")
_NO_DATES = Metric(None, "needs the columns date, equity and flow")


class MalformedFileError(Exception):
    """A file that cannot be read as statistics; its text names the line and what is wrong."""


class Row(NamedTuple):
    """One line of the file.

    Attributes:
        line: Its number, the header being line 1.
        cells: Column name to text.
    """

    line: int
    cells: Mapping[str, str]


def stats(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with a column `return` (periodic returns), or `pnl` (one row a trade), or `date,equity,flow` "
            "(daily, equity at the end of the day, flow in positive); optionally `benchmark` (its periodic returns).",
            show_default=False,
        ),
    ],
    periods: Annotated[float, typer.Option(help="Periods in a year, for what is annualised.")] = 365,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Performance statistics of a CSV file: returns, risk, drawdown, round trips, benchmark."""
    if not (math.isfinite(periods) and periods > 0):
        _fail(f"--periods {periods:g}: give a number above zero, such as 365 for daily returns")
    try:
        columns, rows = read_rows(file)
        statistics = measure(columns, rows, periods)
    except MalformedFileError as error:
        _fail(str(error))
    typer.echo(as_json_object(statistics) if as_json else as_table(statistics))


def measure(columns: Sequence[str], rows: Sequence[Row], periods_per_year: float) -> Statistics:
    """Compute every statistic that the columns allow, in the order of the output.

    Raises:
        MalformedFileError: A cell cannot be used, or the columns are of no kind or of several.
    """
    kinds = [kind for kind in _KINDS if set(kind) <= set(columns)]
    if len(kinds) != 1:
        found = ", ".join(columns)
        what = "columns of two kinds" if kinds else "columns missing"
        raise MalformedFileError(f"line 1: {what}: have {found}; give return, or pnl, or date, equity and flow")
    if kinds[0] == ("pnl",):
        return _measure_trades(columns, rows)
    measured: Statistics = {}
    try:
        if kinds[0] == ("return",):
            returns, money_weighted = [_return(row, "return") for row in rows], _NO_DATES
        else:
            points = _points(rows)
            money_weighted = money_weighted_return(points)
            returns = _returns_between(points)
        measured = _measure_returns(returns, periods_per_year)
    except UndefinedError as error:
        returns, money_weighted = [], Metric(None, str(error))
        measured = dict.fromkeys((*_OF_RETURNS, "time_weighted_return"), money_weighted)
    measured["money_weighted_return"] = money_weighted
    measured |= dict.fromkeys(_OF_TRADES, _NO_TRADES)
    if "benchmark" in columns:
        # The first valuation opens the first period, so its row has no period of the benchmark.
        benchmark = [_return(row, "benchmark") for row in rows][len(rows) - len(returns) :]
        measured |= {
            "alpha": alpha(returns, benchmark, periods_per_year),
            "beta": beta(returns, benchmark),
            "information_ratio": information_ratio(returns, benchmark, periods_per_year),
        }
    return _in_order(measured)


def _measure_trades(columns: Sequence[str], rows: Sequence[Row]) -> Statistics:
    pnls = [_money(row, "pnl") for row in rows]
    measured = {
        "win_rate": win_rate(pnls),
        "profit_factor": profit_factor(pnls),
        "expectancy": expectancy(pnls),
        **dict.fromkeys((*_OF_RETURNS, *_OF_CAPITAL), _NO_CAPITAL),
    }
    if "benchmark" in columns:
        measured |= dict.fromkeys(_OF_BENCHMARK, _NO_CAPITAL)
    return _in_order(measured)


def _measure_returns(returns: Sequence[float | None], periods_per_year: float) -> Statistics:
    total = total_return(returns)
    counted = sum(value is not None for value in returns)
    growth = cagr(total, counted, periods_per_year)
    deepest = max_drawdown(returns)
    return {
        "total_return": total,
        "time_weighted_return": total,
        "cagr": growth,
        "volatility": volatility(returns, periods_per_year),
        "sharpe": sharpe_ratio(returns, periods_per_year),
        "sortino": sortino_ratio(returns, periods_per_year),
        "calmar": calmar_ratio(growth, deepest),
        "max_drawdown": deepest,
    }


def _in_order(measured: Statistics) -> Statistics:
    names = (*_OF_RETURNS, *_OF_TRADES, *_OF_CAPITAL, *_OF_BENCHMARK)
    return {name: measured[name] for name in names if name in measured}


def read_rows(file: Path) -> tuple[list[str], list[Row]]:
    """Read the columns and the rows of a CSV file; blank lines are passed over.

    Raises:
        MalformedFileError: The file cannot be read, has no header, no rows, or a row that does not fit the header.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = _numbered(stream)
            header = next(lines, None)
            if header is None:
                raise MalformedFileError(f"{file} is empty; give a header line and rows")
            columns = [name.lower() for name in header[1]]
            if len(set(columns)) < len(columns):
                raise MalformedFileError(f"line {header[0]}: a column is named twice: {', '.join(columns)}")
            rows = [_row(line, columns, cells) for line, cells in lines]
    except OSError as error:
        raise MalformedFileError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MalformedFileError(f"{file} is not UTF-8 text; save it as CSV in UTF-8") from error
    if not rows:
        raise MalformedFileError(f"{file} has a header but no rows")
    return columns, rows


def _numbered(stream: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(stream, strict=True)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if len(cells) > 1 or any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise MalformedFileError(f"line {reader.line_num}: {error}") from error


def _row(line: int, columns: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(columns):
        raise MalformedFileError(f"line {line}: {len(cells)} cells, the header has {len(columns)}")
    return Row(line, dict(zip(columns, cells, strict=True)))


def _return(row: Row, column: str) -> float | None:
    """Read a return; None when the cell is blank or NaN."""
    text = row.cells[column]
    if text.lower() in {"", "nan"}:
        return None
    value = _parsed(row, column, float)
    if not math.isfinite(value) or value < -1:
        raise MalformedFileError(f"line {row.line}: {column} {text!r} is no return; give a fraction of -1 or above")
    return value


def _money(row: Row, column: str) -> Decimal:
    return _parsed(row, column, amount)


def _parsed(row: Row, column: str, parse: Callable[[str], _Value]) -> _Value:
    text = row.cells[column]
    try:
        # Python reads 1_000 as a number; in a file it is a mistake, and so it is made unreadable.
        return parse(text.replace("_", "?"))
    except InvalidAmount as error:
        raise MalformedFileError(f"line {row.line}: {column}: {error}") from error
    except ValueError as error:
        raise MalformedFileError(f"line {row.line}: {column} {text!r} is not a number") from error


def _date(row: Row) -> date:
    text = row.cells["date"]
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise MalformedFileError(f"line {row.line}: date {text!r} is not a date; write YYYY-MM-DD") from error


def _points(rows: Sequence[Row]) -> list[EquityPoint]:
    points: list[EquityPoint] = []
    for row in rows:
        time_us = (_date(row) - date(1970, 1, 1)).days * DAY_US
        if points and time_us <= points[-1].time_us:
            what = "twice" if time_us == points[-1].time_us else "out of order"
            raise MalformedFileError(f"line {row.line}: date {row.cells['date']} is {what}; give one row a day, sorted")
        flow = _money(row, "flow") if row.cells["flow"] else ZERO
        points.append(
            EquityPoint(time_us=time_us, equity=_money(row, "equity"), inflow=max(flow, ZERO), outflow=max(-flow, ZERO))
        )
    return points


def _returns_between(points: Sequence[EquityPoint]) -> list[float | None]:
    """One return a row; a row after a gap in the dates is one period all the same."""
    return [
        period_return(before.equity, after.equity, after.inflow, after.outflow)
        for before, after in itertools.pairwise(points)
    ]


def as_json_object(statistics: Statistics) -> str:
    """Write the statistics as one JSON object, with the reasons under `undefined`."""
    values: dict[str, object] = {name: metric.value for name, metric in statistics.items()}
    values["undefined"] = {name: metric.undefined for name, metric in statistics.items() if metric.value is None}
    return json.dumps(values, allow_nan=False)


def as_table(statistics: Statistics) -> str:
    """Write the statistics for people, one a line, with the reason where there is no number."""
    width = max(len(name) for name in statistics)
    return "\n".join(
        f"{name:<{width}}  {f'-  ({metric.undefined})' if metric.value is None else f'{metric.value:.6g}'}"
        for name, metric in statistics.items()
    )


def _fail(message: str) -> NoReturn:
    typer.echo(f"portfolio stats: {message}", err=True)
    raise typer.Exit(2)
