"""What the API answers.

Money, quantities and prices are JSON strings in plain notation: a JSON number is read as a binary float by most
clients, and a float cannot hold `0.1`. Ratios and statistics, which are floats to begin with, are JSON numbers; one
that the data do not determine is null. Times are RFC 3339 in UTC, with microseconds.
"""

from api.schemas.admin import (
    AccountStatus,
    AlertLine,
    AuditLine,
    Connection,
    DeadLetterLine,
    Health,
    Problem,
    Setting,
    Status,
    SyncState,
    SyncStatus,
)
from api.schemas.base import Answer, Instant, Money, instant_us, rfc3339
from api.schemas.metrics import Benchmark, BucketReturn, Candle, Drawdown, EquityPoint, Metrics, StrategyPnl
from api.schemas.portfolio import (
    Account,
    AssetFees,
    Balance,
    CashFlow,
    Fees,
    Overview,
    Position,
    Reconciliation,
    SymbolFees,
    SymbolPnl,
    SymbolPosition,
    Trade,
)

__all__ = [
    "Account",
    "AccountStatus",
    "AlertLine",
    "Answer",
    "AssetFees",
    "AuditLine",
    "Balance",
    "Benchmark",
    "BucketReturn",
    "Candle",
    "CashFlow",
    "Connection",
    "DeadLetterLine",
    "Drawdown",
    "EquityPoint",
    "Fees",
    "Health",
    "Instant",
    "Metrics",
    "Money",
    "Overview",
    "Position",
    "Problem",
    "Reconciliation",
    "Setting",
    "Status",
    "StrategyPnl",
    "SymbolFees",
    "SymbolPnl",
    "SymbolPosition",
    "SyncState",
    "SyncStatus",
    "Trade",
    "instant_us",
    "rfc3339",
]
