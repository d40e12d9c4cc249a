"""A portfolio beside a benchmark: what it did better, and what the same money would have done there."""

import math
from collections.abc import Sequence
from decimal import Decimal

import polars as pl

from portfolio.money import ONE, ZERO, exact_arithmetic, ratio
from portfolio.performance.metric import UndefinedError, metric
from portfolio.performance.ratios import periodic_rate
from portfolio.performance.returns import (
    DAYS_PER_YEAR,
    EquityPoint,
    Returns,
    is_noise,
    known,
    largest,
    spread,
)


def _paired(returns: Returns, benchmark: Returns) -> tuple[pl.Series, pl.Series]:
    """Return the periods that are known on both sides."""
    if len(returns) != len(benchmark):
        raise ValueError(f"{len(returns)} returns beside {len(benchmark)} of the benchmark; give one for each period")
    both = pl.DataFrame(
        {"portfolio": pl.Series(returns, dtype=pl.Float64), "benchmark": pl.Series(benchmark, dtype=pl.Float64)}
    ).drop_nulls()
    return known(both["portfolio"]), known(both["benchmark"])


def _beta(portfolio: pl.Series, market: pl.Series) -> float:
    portfolio_mean, _ = spread(portfolio)
    market_mean, deviation = spread(market)
    scale = largest(market)
    if is_noise(deviation, scale):
        raise UndefinedError("the benchmark's returns do not vary")
    market_moves = (market - market_mean) / scale
    together = ((portfolio - portfolio_mean) * market_moves).sum()
    return float(together) / float((market_moves**2).sum()) / scale


@metric
def beta(returns: Returns, benchmark: Returns) -> float:
    """Beta: cov(r, b) / var(b), with the same divisor in both.

    Source: Sharpe, Capital Asset Prices, Journal of Finance 19 (1964).
    """
    return _beta(*_paired(returns, benchmark))


@metric
def alpha(
    returns: Returns, benchmark: Returns, periods_per_year: float = DAYS_PER_YEAR, risk_free_rate: float = 0.0
) -> float:
    """Jensen's alpha, annualised: (mean(r - f) - beta * mean(b - f)) * periods_per_year.

    Annualised by multiplication, as the mean in the Sharpe ratio is; empyrical compounds it instead.

    Source: Jensen, The Performance of Mutual Funds in the Period 1945-1964, Journal of Finance 23 (1968).
    """
    portfolio, market = _paired(returns, benchmark)
    free = periodic_rate(risk_free_rate, periods_per_year)
    portfolio_mean, _ = spread(portfolio - free)
    market_mean, _ = spread(market - free)
    return (portfolio_mean - _beta(portfolio, market) * market_mean) * periods_per_year


@metric
def information_ratio(returns: Returns, benchmark: Returns, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Information ratio: mean(r - b) / std(r - b, ddof=1) * sqrt(periods_per_year).

    Source: Goodwin, The Information Ratio, Financial Analysts Journal 54 (1998).
    """
    portfolio, market = _paired(returns, benchmark)
    active = portfolio - market
    mean, tracking_error = spread(active)
    if is_noise(tracking_error, max(largest(portfolio), largest(market))):
        raise UndefinedError("the returns do not differ from the benchmark's by more than a constant")
    return mean / tracking_error * math.sqrt(periods_per_year)


def same_flows_into(points: Sequence[EquityPoint], prices: Sequence[Decimal]) -> list[EquityPoint]:
    """Return what the account would be worth had the same money gone into one asset, such as BTC.

    The first equity buys units at the first price; each flow buys or sells units at the price of its point. Compare
    the last equities, or hand the result to `money_weighted_return`; its time-weighted return is the asset's own.

    Args:
        points: The account's valuation points in order of time.
        prices: The asset's price in the reporting currency at the time of each point.

    Source: Long and Nickels, A Private Investment Benchmark (1996), the index comparison method.

    Raises:
        ValueError: The prices are not one for each point, or one is not positive.
        UndefinedError: A payment out is more than the asset would have been worth.
    """
    if len(points) != len(prices):
        raise ValueError(f"{len(prices)} prices for {len(points)} valuation points; give one for each")
    invested: list[EquityPoint] = []
    units = ZERO
    for point, price in zip(points, prices, strict=True):
        if price <= 0:
            raise ValueError(f"the price at {point.time_us} is {price}; a price is positive")
        with exact_arithmetic():
            paid = point.inflow - point.outflow if invested else point.equity
            units += ratio(paid, price)
            value = units * price
        if units < 0:
            raise UndefinedError(f"at {point.time_us} more was paid out than the benchmark was worth")
        invested.append(
            EquityPoint(time_us=point.time_us, equity=ratio(value, ONE), inflow=point.inflow, outflow=point.outflow)
        )
    return invested
