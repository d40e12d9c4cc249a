"""What was earned, and at what risk."""

from pydantic import Field

from api.schemas.base import Answer, Instant, Money


class Metrics(Answer):
    """What was earned in a period, and at what risk. Fractions, but for `roi_percent`."""

    period: str
    accounts: list[str]
    reporting: str
    timestamp: Instant | None = Field(description="The end of the period: the newest prices in the books.")
    start: Instant | None = Field(description="First valuation point that counts.")
    total_pnl: Money = Field(description="Earned in the period: equity at its end, less at its start, less flows.")
    realized_pnl: Money
    unrealized_pnl: Money = Field(description="Its change in the period.")
    roi_percent: float | None = Field(description="total_pnl in percent of the invested capital (Modified Dietz).")
    time_weighted_return: float | None
    money_weighted_return: float | None = Field(description="XIRR, a rate a year.")
    cagr: float | None
    volatility: float | None = Field(description="Of daily returns, annualised with 365 days.")
    sharpe_ratio: float | None
    sortino_ratio: float | None
    calmar_ratio: float | None
    max_drawdown: float | None = Field(description="Of the time-weighted index: 0 or a negative fraction.")
    win_rate: float | None = Field(description="Closed round trips with a gain over all; 0.6 is 60 %.")
    profit_factor: float | None
    expectancy: float | None = Field(description="Mean gain of a closed round trip, reporting currency.")
    closed_round_trips: int
    undefined: dict[str, str] = Field(description="Name of each statistic that is null to the reason.")


class Candle(Answer):
    """How a value moved in a bucket of time; it keeps its value until the next point."""

    time: Instant = Field(description="Start of the bucket.")
    open: Money
    high: Money
    low: Money
    close: Money
    points: int = Field(description="Points in the bucket; 0: the value was carried through it.")


class Drawdown(Answer):
    """A fall of the time-weighted index below a peak, until it is back."""

    depth: float = Field(description="Lowest over peak, less 1: a negative fraction.")
    peak: Instant
    trough: Instant
    recovery: Instant | None = Field(description="When it was back at the peak; null while it is not.")


class BucketReturn(Answer):
    """The time-weighted return of a day, a week or a month, in UTC."""

    start: Instant
    end: Instant
    twr: float | None = Field(description="A fraction, time-weighted; null where it does not exist.")
    complete: bool = Field(description="False for the bucket that is not over.")


class Benchmark(Answer):
    """The accounts beside the same cash flows into one asset."""

    symbol: str
    asset: str = Field(description="What the same money would have bought.")
    reporting: str
    start: Instant
    end: Instant
    equity: Money = Field(description="What the accounts are worth.")
    benchmark_equity: Money = Field(description="What the same money in the asset would be worth.")
    difference: Money = Field(description="equity - benchmark_equity.")
    time_weighted_return: float | None
    benchmark_return: float | None = Field(description="Time-weighted, so the asset's own.")
    alpha: float | None = Field(description="Jensen's, annualised, of daily returns.")
    beta: float | None
    information_ratio: float | None
    undefined: dict[str, str] = Field(description="Name of each statistic that is null to the reason.")


class StrategyPnl(Answer):
    """What the fills of one strategy have come to."""

    strategy: str = Field(description="As the bot named it; empty: no bot has claimed the fills.")
    realized_pnl: Money
    fees: Money
    volume: Money = Field(description="Market value of all fills.")
    fills: int
    cycles: int = Field(description="Distinct cycle ids.")
    first: Instant
    last: Instant
    reporting: str


class EquityPoint(Answer):
    """A point of the equity curve."""

    time: Instant
    equity: Money
