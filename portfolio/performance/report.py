"""The performance of one account over one period, in one answer."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import polars as pl

from portfolio.performance.drawdowns import Drawdown, drawdowns, max_drawdown
from portfolio.performance.metric import Metric, UndefinedError
from portfolio.performance.money_weighted import money_weighted_return, roi_percent
from portfolio.performance.ratios import calmar_ratio, sharpe_ratio, sortino_ratio, volatility
from portfolio.performance.returns import (
    DAY_US,
    DAYS_PER_YEAR,
    EquityPoint,
    cagr,
    daily_returns,
    link_points,
    total_return,
)
from portfolio.performance.trades import expectancy, profit_factor, win_rate


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """What an account earned in a period, and at what risk.

    A statistic that does not exist is None, and `undefined` says why under its name. Fractions, not percent, but for
    `roi_percent`.

    Attributes:
        start_time_us: First valuation point that counts; None when there is none.
        end_time_us: Last valuation point that counts; None when there is none.
        total_pnl: Earned in the period, in the reporting currency.
        realized_pnl: The realized part of it.
        unrealized_pnl: The unrealized part of it.
        total_return: Cumulative time-weighted return.
        time_weighted_return: The same number, under the name that tells it from the money-weighted one.
        money_weighted_return: XIRR, a rate a year.
        roi_percent: Pnl over the invested capital (Modified Dietz), in percent.
        cagr: Compound annual growth rate of the time-weighted return, over the time that passed.
        volatility: Annualised, of daily returns.
        sharpe_ratio: Annualised, of daily returns.
        sortino_ratio: Annualised, of daily returns.
        calmar_ratio: CAGR over the maximum drawdown.
        max_drawdown: Deepest fall of the time-weighted index, over every point; zero or a negative fraction.
        deepest_drawdown: The same with its dates; None when there is none.
        daily_returns: How many daily returns the annualised statistics are of.
        win_rate: Winners over all closed round trips.
        profit_factor: Won over lost.
        expectancy: Mean pnl of a closed round trip, in the reporting currency.
        closed_round_trips: How many round trips were closed.
        undefined: Name of a statistic to the reason why it is None.
    """

    start_time_us: int | None
    end_time_us: int | None
    total_pnl: Decimal
    realized_pnl: Decimal
    unrealized_pnl: Decimal
    total_return: float | None
    time_weighted_return: float | None
    money_weighted_return: float | None
    roi_percent: float | None
    cagr: float | None
    volatility: float | None
    sharpe_ratio: float | None
    sortino_ratio: float | None
    calmar_ratio: float | None
    max_drawdown: float | None
    deepest_drawdown: Drawdown | None
    daily_returns: int
    win_rate: float | None
    profit_factor: float | None
    expectancy: float | None
    closed_round_trips: int
    undefined: dict[str, str]


def measure_performance(
    points: Sequence[EquityPoint],
    *,
    round_trip_pnls: Sequence[Decimal],
    total_pnl: Decimal,
    realized_pnl: Decimal,
    unrealized_pnl: Decimal,
    start_time_us: int,
    end_time_us: int,
    risk_free_rate: float = 0.0,
) -> Performance:
    """Measure an account over a period.

    The time-weighted return and the drawdown use every valuation point; volatility, Sharpe and Sortino use one return
    for each UTC midnight in the period (see `daily_returns`). Annual rates need at least a day to be told.

    Args:
        points: Valuation points in order of time. The opening value is the last one at or before the start, or the
            first one if there is none.
        round_trip_pnls: Pnl of each round trip that was closed in the period.
        total_pnl: Earned in the period, in the reporting currency.
        realized_pnl: The realized part of it.
        unrealized_pnl: The unrealized part of it.
        start_time_us: Start of the period, epoch microseconds (see `period_start_time_us`).
        end_time_us: End of the period; later points do not count.
        risk_free_rate: Annual, for Sharpe and Sortino.

    Raises:
        ValueError: The points are not in order of time.
    """
    window = _window(points, start_time_us, end_time_us)
    linked, broken = _linked(window)
    measured = {
        **_of_returns(linked, broken, risk_free_rate),
        "money_weighted_return": broken or _annual(linked, money_weighted_return(window)),
        "roi_percent": roi_percent(total_pnl, window),
        "win_rate": win_rate(round_trip_pnls),
        "profit_factor": profit_factor(round_trip_pnls),
        "expectancy": expectancy(round_trip_pnls),
    }
    return Performance(
        start_time_us=window[0].time_us if window else None,
        end_time_us=window[-1].time_us if window else None,
        total_pnl=total_pnl,
        realized_pnl=realized_pnl,
        unrealized_pnl=unrealized_pnl,
        deepest_drawdown=_deepest(linked),
        daily_returns=daily_returns(linked).len(),
        closed_round_trips=len(round_trip_pnls),
        undefined={name: result.undefined for name, result in measured.items() if result.undefined is not None},
        **{name: result.value for name, result in measured.items()},
    )


def _window(points: Sequence[EquityPoint], start_time_us: int, end_time_us: int) -> list[EquityPoint]:
    until_end = [point for point in points if point.time_us <= end_time_us]
    before = sum(point.time_us <= start_time_us for point in until_end)
    return until_end[max(0, before - 1) :]


def _linked(window: Sequence[EquityPoint]) -> tuple[pl.DataFrame, Metric | None]:
    """Return the linked returns, empty where they do not exist, and then the reason."""
    try:
        linked = link_points(window)
    except UndefinedError as error:
        return link_points([]), Metric(None, str(error))
    if len(window) < 2:  # noqa: PLR2004  (a return needs a start and an end)
        return linked, Metric(None, f"needs two or more valuation points, there are {len(window)}")
    if linked.is_empty():
        return linked, Metric(None, "the account held no capital")
    return linked, None


def _of_returns(linked: pl.DataFrame, broken: Metric | None, risk_free_rate: float) -> dict[str, Metric]:
    daily = daily_returns(linked)
    total = broken or total_return(linked["return"])
    deepest = broken or max_drawdown(linked["return"])
    growth = broken or _annual(linked, cagr(total, _elapsed_us(linked) / DAY_US, DAYS_PER_YEAR))
    return {
        "total_return": total,
        "time_weighted_return": total,
        "cagr": growth,
        "volatility": broken or volatility(daily),
        "sharpe_ratio": broken or sharpe_ratio(daily, risk_free_rate=risk_free_rate),
        "sortino_ratio": broken or sortino_ratio(daily, risk_free_rate=risk_free_rate),
        "calmar_ratio": broken or calmar_ratio(growth, deepest),
        "max_drawdown": deepest,
    }


def _elapsed_us(linked: pl.DataFrame) -> int:
    return int(linked["end_time_us"].item(-1)) - int(linked["start_time_us"].item(0))


def _annual(linked: pl.DataFrame, rate: Metric) -> Metric:
    if _elapsed_us(linked) < DAY_US:
        return Metric(None, "less than a day has passed, too little for an annual rate")
    return rate


def _deepest(linked: pl.DataFrame) -> Drawdown | None:
    if linked.is_empty():
        return None
    times_us = [int(linked["start_time_us"].item(0)), *linked["end_time_us"].to_list()]
    try:
        found = drawdowns(times_us, linked["return"])
    except UndefinedError:
        return None
    return min(found, key=lambda drawdown: drawdown.depth, default=None)
