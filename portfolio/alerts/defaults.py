"""The rules that hold where nobody wrote others."""

from typing import Final

from portfolio.alerts.rules import (
    BalanceAnomaly,
    DeadLetters,
    MissingAcquisition,
    PnlAnomaly,
    PriceSources,
    Reconciliation,
    Rule,
    Severity,
    StaleData,
    SyncFailures,
    UnmatchedExecution,
)

DEFAULT_RULES: Final[dict[str, Rule]] = {
    "stale-data": StaleData(severity=Severity.CRITICAL),
    "sync-failures": SyncFailures(),
    "reconciliation": Reconciliation(severity=Severity.CRITICAL),
    "balance-anomaly": BalanceAnomaly(),
    "missing-acquisition": MissingAcquisition(),
    "dead-letters": DeadLetters(),
    "pnl-anomaly": PnlAnomaly(severity=Severity.CRITICAL),
    "unmatched-execution": UnmatchedExecution(),
    "price-sources": PriceSources(),
}
"""Those that need no threshold of one's own, by name."""
