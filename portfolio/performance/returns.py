"""Returns: what one unit of capital earned, whatever was paid in or out.

Crypto trades every day of the year, so a year has 365 periods of a day unless the caller says otherwise.
"""

import itertools
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import TypeAlias

import msgspec
import polars as pl

from portfolio.money import ZERO, checked, exact_arithmetic
from portfolio.performance.metric import Metric, UndefinedError, metric, required

DAYS_PER_YEAR = 365
DAY_US = 86_400_000_000

Returns: TypeAlias = Sequence[float | None] | pl.Series
"""Periodic returns as fractions (0.01 is one percent); a null is a period that is not counted."""

# Doubles near one are 2.2e-16 apart, so a return is not known better than this.
RETURN_RESOLUTION = 1e-15
_RELATIVE_RESOLUTION = 1e-12


class EquityPoint(msgspec.Struct, frozen=True):
    """What an account was worth at one moment, and what was paid in and out since the point before.

    Attributes:
        time_us: Epoch microseconds.
        equity: Value of everything held, in the reporting currency, after the flows.
        inflow: Paid in since the point before; zero or more.
        outflow: Paid out since the point before; zero or more.
    """

    time_us: int
    equity: Decimal
    inflow: Decimal = ZERO
    outflow: Decimal = ZERO

    def __post_init__(self) -> None:
        checked(self.equity)
        if checked(self.inflow) < 0 or checked(self.outflow) < 0:
            raise ValueError(f"a flow at {self.time_us} is negative; give payments out as a positive outflow")


def period_return(equity_start: Decimal, equity_end: Decimal, inflow: Decimal, outflow: Decimal) -> float | None:
    """Return of one period, with the inflow at its start and the outflow at its end.

    r = (equity_end + outflow) / (equity_start + inflow) - 1

    Source: daily valuation with flows at the boundary of the day, as in the GIPS guidance on calculation
    methodology; inflow first and outflow last is the convention of Portfolio Performance.

    Returns:
        The return, at least -1. None when there was no capital at the start: such a period has no return.

    Raises:
        UndefinedError: The equity is negative, so it is not the value of a capital.
    """
    if equity_start < 0 or equity_end < 0:
        raise UndefinedError("the equity is negative")
    with exact_arithmetic():
        capital = equity_start + inflow
        gain = equity_end + outflow - capital
    return None if capital == 0 else float(gain) / float(capital)


def link_points(points: Sequence[EquityPoint]) -> pl.DataFrame:
    """Return between each two valuation points, oldest first.

    The first point is the opening value; its flows belong to the time before. A stretch that begins without capital
    and sees none paid in is left out: the index waits there. Where capital arrives in an empty account, the stretch
    begins with the payment, at the time of its point.

    Args:
        points: Valuation points in order of time; several may share a time.

    Returns:
        Columns `start_time_us`, `end_time_us`, `return`.

    Raises:
        ValueError: The points are not in order.
        UndefinedError: An equity is negative.
    """
    starts: list[int] = []
    ends: list[int] = []
    returns: list[float] = []
    for before, after in itertools.pairwise(points):
        if after.time_us < before.time_us:
            raise ValueError(f"valuation points are not in order of time: {after.time_us} follows {before.time_us}")
        value = period_return(before.equity, after.equity, after.inflow, after.outflow)
        if value is not None:
            starts.append(after.time_us if before.equity == 0 else before.time_us)
            ends.append(after.time_us)
            returns.append(value)
    return pl.DataFrame(
        {"start_time_us": starts, "end_time_us": ends, "return": returns},
        schema={"start_time_us": pl.Int64, "end_time_us": pl.Int64, "return": pl.Float64},
    )


def daily_returns(linked: pl.DataFrame) -> pl.Series:
    """Daily time-weighted returns: the returns between valuation points, linked by UTC day.

    r_day = prod(1 + r) - 1 over the stretches that end in the day, midnight at its end included

    Every UTC midnight that has been reached closes one daily return. The first day counts from its first point; the
    last day, which is not over, is left out, because a part of a day is no daily return. A day without a valuation
    point is a day without change: what happened shows on the next day that has one.

    Args:
        linked: What `link_points` returned.
    """
    if linked.is_empty():
        return pl.Series("return", [], dtype=pl.Float64)
    unfinished_day = linked["end_time_us"].item(-1) // DAY_US
    first_day = pl.col("start_time_us") // DAY_US
    # Capital that arrives at midnight belongs to the day that begins, hence not to the day that its stretch ends in.
    stretches = linked.with_columns(
        first_day=first_day, day=pl.max_horizontal((pl.col("end_time_us") - 1) // DAY_US, first_day)
    )
    calendar = (
        stretches.select(pl.int_ranges("first_day", pl.col("day") + 1, dtype=pl.Int64).alias("day"))
        .explode("day", empty_as_null=False)
        .unique()
    )
    daily = stretches.group_by("day").agg((pl.col("return") + 1).product() - 1)
    return (
        calendar.join(daily, on="day", how="left")
        .filter(pl.col("day") < unfinished_day)
        .sort("day")["return"]
        .fill_null(0.0)
    )


def known(returns: Returns) -> pl.Series:
    """Return the periodic returns that are known, as a series of floats.

    Raises:
        UndefinedError: One is not finite or below -1 (more than everything was lost).
    """
    series = pl.Series("return", returns, dtype=pl.Float64).drop_nulls()
    if not series.is_finite().all():
        raise UndefinedError("a return is not a finite number")
    if (series < -1).any():
        raise UndefinedError("a return is below -1: more than everything was lost")
    return series


def growth_index(returns: Returns) -> pl.Series:
    """Time-weighted index: 1 at the start, then the product of 1 + r up to each period; one value more than returns.

    Raises:
        UndefinedError: A return is not usable, or the index leaves the range of a float.
    """
    growth = known(returns) + 1
    index = pl.concat([pl.Series("index", [1.0]), growth.cum_prod().rename("index")])
    if not index.is_finite().all():
        raise UndefinedError("the index is out of the range of a floating-point number")
    return index


@metric
def total_return(returns: Returns) -> float:
    """Cumulative time-weighted return: prod(1 + r) - 1.

    Flows do not change it, because every return is on the capital of its own period.

    Source: Bacon, Practical Portfolio Performance Measurement and Attribution, chain-linking.
    """
    index = growth_index(returns)
    if index.len() == 1:
        raise UndefinedError("there are no returns")
    return float(index.item(-1)) - 1


@metric
def cagr(total: Metric | float, periods: float, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Compound annual growth rate: (1 + total)^(periods_per_year / periods) - 1.

    Args:
        total: Cumulative return as a fraction.
        periods: Length of the time in which it was earned, in periods.
        periods_per_year: Periods in a year.

    Source: empyrical and nautilus_trader define it so, with the number of returns as the length.
    """
    growth = required(total)
    if periods <= 0:
        raise UndefinedError("no time has passed")
    if growth < -1:
        raise UndefinedError("more than everything was lost")
    if growth == -1:
        return -1.0
    return math.expm1(math.log1p(growth) * periods_per_year / periods)


def spread(series: pl.Series) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n - 1) of a series of two or more values.

    Both are taken of the values over the largest, so that squares neither overflow nor vanish.

    Raises:
        UndefinedError: There are fewer than two values.
    """
    if series.len() < 2:  # noqa: PLR2004  (n - 1 is the divisor)
        raise UndefinedError(f"needs two or more returns, there are {series.len()}")
    scale = largest(series)
    if scale == 0:
        return 0.0, 0.0
    scaled = series / scale
    return _number(scaled.mean()) * scale, _number(scaled.std(ddof=1)) * scale


def largest(series: pl.Series) -> float:
    """Return the largest absolute value of a series that is not empty."""
    return _number(series.abs().max())


def is_noise(deviation: float, scale: float) -> bool:
    """Whether a deviation of values as large as `scale` is no more than the rounding of the values."""
    return deviation <= scale * _RELATIVE_RESOLUTION + RETURN_RESOLUTION


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
