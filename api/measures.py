"""From what accounts went through to what is answered about it: drawdowns, returns, a benchmark, candles."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from decimal import Decimal
from http import HTTPStatus
from operator import itemgetter

import polars as pl

from api import schemas
from api.problems import ProblemError
from infra.postgres.performance import Course
from portfolio.money import ZERO, exact_arithmetic
from portfolio.performance import (
    EquityPoint,
    Metric,
    UndefinedError,
    alpha,
    beta,
    bucket_returns,
    candles,
    daily_returns,
    information_ratio,
    link_points,
    same_flows_into,
    total_return,
)
from portfolio.performance import drawdowns as find_drawdowns

Point = tuple[int, Decimal]


def drawdowns(course: Course) -> list[schemas.Drawdown]:
    """Every drawdown, the deepest first."""
    linked = _linked(course.points)
    if linked.is_empty():
        return []
    times_us = [int(linked["start_time_us"].item(0)), *linked["end_time_us"].to_list()]
    found = sorted(find_drawdowns(times_us, linked["return"]), key=lambda drawdown: drawdown.depth)
    return [
        schemas.Drawdown(
            depth=one.depth, peak=one.peak_time_us, trough=one.trough_time_us, recovery=one.recovery_time_us
        )
        for one in found
    ]


def returns(course: Course, bucket: str) -> list[schemas.BucketReturn]:
    """The return of each bucket, in order of time."""
    return [
        schemas.BucketReturn(start=one.start_time_us, end=one.end_time_us, twr=one.value, complete=one.is_complete)
        for one in bucket_returns(_linked(course.points), bucket)
    ]


def asset_of(symbol: str, reporting: str) -> str:
    """The asset that a symbol stands for as a benchmark: what it trades against the reporting currency."""
    base = symbol.removesuffix(reporting)
    return base or symbol


def benchmark(course: Course, rates: Sequence[Point], *, symbol: str, asset: str, reporting: str) -> schemas.Benchmark:
    """The accounts beside the same cash flows into an asset.

    Args:
        course: What the accounts went through. It counts from the first price of the asset.
        rates: The asset's prices in order of time.
        symbol: As it was asked for.
        asset: What it stands for.
        reporting: The currency of everything.

    Raises:
        ProblemError: No price of the asset is known, or too few points are.
    """
    times_us = [time_us for time_us, _ in rates]
    points = [point for point in course.points if times_us and point.time_us >= times_us[0] and point.equity > 0]
    if not points:
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            f"No price of {asset} in {reporting} is known for this period. It is recorded with each valuation point "
            f"while an account holds it, and always where PORTFOLIO_BENCHMARKS names it.",
        )
    prices = [rates[bisect_right(times_us, point.time_us) - 1][1] for point in points]
    try:
        invested = same_flows_into(points, prices)
    except UndefinedError as error:
        raise ProblemError(
            HTTPStatus.CONFLICT, f"The benchmark does not exist: {error}. Choose a later period."
        ) from error
    return _compared(points, invested, symbol=symbol, asset=asset, reporting=reporting)


def _compared(
    points: Sequence[EquityPoint], invested: Sequence[EquityPoint], *, symbol: str, asset: str, reporting: str
) -> schemas.Benchmark:
    own, other = _linked(points), _linked(invested)
    daily, daily_other = daily_returns(own), daily_returns(other)
    measured: dict[str, Metric] = {
        "time_weighted_return": total_return(own["return"]),
        "benchmark_return": total_return(other["return"]),
    }
    for name, function in (("alpha", alpha), ("beta", beta), ("information_ratio", information_ratio)):
        measured[name] = function(daily, daily_other)
    with exact_arithmetic():
        difference = points[-1].equity - invested[-1].equity
    return schemas.Benchmark(
        symbol=symbol,
        asset=asset,
        reporting=reporting,
        start=points[0].time_us,
        end=points[-1].time_us,
        equity=points[-1].equity,
        benchmark_equity=invested[-1].equity,
        difference=difference,
        undefined={name: one.undefined for name, one in measured.items() if one.undefined is not None},
        **{name: one.value for name, one in measured.items()},
    )


def summed(curves: Iterable[Sequence[Point]]) -> list[Point]:
    """Several curves as one, in order of time: at each time, the last value of each that has begun."""
    changes = [(time_us, number, value) for number, curve in enumerate(curves) for time_us, value in curve]
    changes.sort(key=itemgetter(0))  # by time alone: of two values at one time, the later one of the curve counts
    last: dict[int, Decimal] = {}
    totals: dict[int, Decimal] = {}
    with exact_arithmetic():
        for time_us, number, value in changes:
            last[number] = value
            totals[time_us] = sum(last.values(), ZERO)
    return list(totals.items())


def candles_of(points: Sequence[Point], timeframe: str) -> list[schemas.Candle]:
    """The candles of a series.

    Raises:
        ProblemError: There would be too many.
    """
    try:
        built = candles(points, timeframe)
    except ValueError as error:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error}.") from error
    return [
        schemas.Candle(
            time=one.open_time_us, open=one.open, high=one.high, low=one.low, close=one.close, points=one.points
        )
        for one in built
    ]


def _linked(points: Sequence[EquityPoint]) -> pl.DataFrame:
    try:
        return link_points(points)
    except UndefinedError as error:
        raise ProblemError(HTTPStatus.CONFLICT, f"Returns do not exist in this period: {error}.") from error
