"""Performance statistics: what a capital earned, at what risk, and against what.

Money is `Decimal`; ratios and statistics are floats. A statistic that the data do not determine is a `Metric` without
a value and with a reason, never zero, infinity or NaN. `docs/performance.md` has every formula with an example.
"""

from portfolio.performance.benchmark import alpha, beta, information_ratio, same_flows_into
from portfolio.performance.buckets import BUCKETS, BucketReturn, bucket_returns
from portfolio.performance.candles import CANDLES_MAX, TIMEFRAMES_US, Candle, candles
from portfolio.performance.drawdowns import Drawdown, drawdowns, max_drawdown
from portfolio.performance.metric import Metric, UndefinedError
from portfolio.performance.money_weighted import investor_cash_flows, money_weighted_return, roi_percent, xirr
from portfolio.performance.periods import PERIOD_PATTERN, PERIODS, period_start_time_us
from portfolio.performance.ratios import (
    calmar_ratio,
    downside_risk,
    omega_ratio,
    sharpe_ratio,
    sortino_ratio,
    volatility,
)
from portfolio.performance.report import Performance, measure_performance
from portfolio.performance.returns import (
    DAY_US,
    DAYS_PER_YEAR,
    EquityPoint,
    Returns,
    cagr,
    daily_returns,
    growth_index,
    link_points,
    period_return,
    total_return,
)
from portfolio.performance.trades import expectancy, exposure, profit_factor, turnover, win_rate

__all__ = [
    "BUCKETS",
    "CANDLES_MAX",
    "DAYS_PER_YEAR",
    "DAY_US",
    "PERIODS",
    "PERIOD_PATTERN",
    "TIMEFRAMES_US",
    "BucketReturn",
    "Candle",
    "Drawdown",
    "EquityPoint",
    "Metric",
    "Performance",
    "Returns",
    "UndefinedError",
    "alpha",
    "beta",
    "bucket_returns",
    "cagr",
    "calmar_ratio",
    "candles",
    "daily_returns",
    "downside_risk",
    "drawdowns",
    "expectancy",
    "exposure",
    "growth_index",
    "information_ratio",
    "investor_cash_flows",
    "link_points",
    "max_drawdown",
    "measure_performance",
    "money_weighted_return",
    "omega_ratio",
    "period_return",
    "period_start_time_us",
    "profit_factor",
    "roi_percent",
    "same_flows_into",
    "sharpe_ratio",
    "sortino_ratio",
    "total_return",
    "turnover",
    "volatility",
    "win_rate",
    "xirr",
]
