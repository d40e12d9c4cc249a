"""Risk, and return for the risk taken, from periodic returns.

Ratios are annualised by sqrt(periods_per_year): the mean grows with time, the deviation with its square root.
"""

import math

import polars as pl

from portfolio.performance.metric import Metric, UndefinedError, metric, required
from portfolio.performance.returns import (
    DAYS_PER_YEAR,
    RETURN_RESOLUTION,
    Returns,
    is_noise,
    known,
    largest,
    spread,
)


def periodic_rate(annual_rate: float, periods_per_year: float) -> float:
    """Rate of one period that compounds to the annual rate: (1 + annual)^(1 / periods_per_year) - 1."""
    return math.expm1(math.log1p(annual_rate) / periods_per_year)


@metric
def volatility(returns: Returns, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Annualised volatility: std(r, ddof=1) * sqrt(periods_per_year).

    Source: the sample standard deviation; nautilus_trader and empyrical agree.
    """
    _, deviation = spread(known(returns))
    return deviation * math.sqrt(periods_per_year)


@metric
def sharpe_ratio(returns: Returns, periods_per_year: float = DAYS_PER_YEAR, risk_free_rate: float = 0.0) -> float:
    """Sharpe ratio: mean(r - f) / std(r - f, ddof=1) * sqrt(periods_per_year).

    Args:
        returns: Periodic returns.
        periods_per_year: Periods in a year.
        risk_free_rate: Annual; f is the rate of one period that compounds to it.

    Source: Sharpe, The Sharpe Ratio, Journal of Portfolio Management 21 (1994), equations 3 to 6.
    """
    excess = known(returns) - periodic_rate(risk_free_rate, periods_per_year)
    mean, deviation = spread(excess)
    if is_noise(deviation, largest(excess)):
        raise UndefinedError("the returns do not vary")
    return mean / deviation * math.sqrt(periods_per_year)


def _downside(excess: pl.Series) -> float:
    if excess.is_empty():
        raise UndefinedError("there are no returns")
    losses = excess.clip(upper_bound=0.0)
    scale = largest(losses)
    return 0.0 if scale == 0 else scale * math.sqrt(((losses / scale) ** 2).sum() / losses.len())


@metric
def downside_risk(returns: Returns, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Annualised downside deviation from zero: sqrt(mean(min(r, 0)^2)) * sqrt(periods_per_year).

    The mean is over all periods, gains counting as zero, not over the losing ones alone.

    Source: Sortino and Price, Performance Measurement in a Downside Risk Framework, Journal of Investing 3 (1994).
    """
    return _downside(known(returns)) * math.sqrt(periods_per_year)


@metric
def sortino_ratio(returns: Returns, periods_per_year: float = DAYS_PER_YEAR, risk_free_rate: float = 0.0) -> float:
    """Sortino ratio: mean(r - f) / sqrt(mean(min(r - f, 0)^2)) * sqrt(periods_per_year).

    Args:
        returns: Periodic returns.
        periods_per_year: Periods in a year.
        risk_free_rate: Annual; f is the rate of one period that compounds to it.

    Source: Sortino and Price (1994); the downside deviation is over all periods.
    """
    excess = known(returns) - periodic_rate(risk_free_rate, periods_per_year)
    downside = _downside(excess)
    if downside <= RETURN_RESOLUTION:
        raise UndefinedError("no return is negative, so there is no downside deviation")
    scale = largest(excess)
    return float((excess / scale).sum()) / excess.len() * scale / downside * math.sqrt(periods_per_year)


@metric
def calmar_ratio(annual_growth: Metric | float, deepest: Metric | float) -> float:
    """Calmar ratio: CAGR / |max drawdown|, both over the same time.

    Source: Young, Calmar Ratio: A Smoother Tool, Futures 20 (1991); it used 36 months, here it is the period asked for.
    """
    growth, depth = required(annual_growth), required(deepest)
    if depth == 0:
        raise UndefinedError("there is no drawdown")
    return growth / abs(depth)


@metric
def omega_ratio(returns: Returns, threshold: float = 0.0) -> float:
    """Omega ratio: sum(max(r - t, 0)) / sum(max(t - r, 0)), with the threshold t of one period.

    Source: Keating and Shadwick, A Universal Performance Measure, Journal of Performance Measurement 6 (2002).
    """
    excess = known(returns) - threshold
    shortfall = -float(excess.clip(upper_bound=0.0).sum())
    if shortfall <= RETURN_RESOLUTION:
        raise UndefinedError("no return is below the threshold")
    return float(excess.clip(lower_bound=0.0).sum()) / shortfall
