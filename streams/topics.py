"""The topics: what each carries, its key, its partitions and how long it is kept.

Topics with one partition for each of the books (`PER_BOOK`) are assigned to workers together with the table, so that
whoever has a partition of the log has the books of its accounts, their marks and their journal.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from infra.errors import RemediableError

APP_ID = "portfolio"
"""Name of the Faust application, which is also its consumer group and the prefix of its changelogs."""

BOOKS_TABLE = "books"

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""The largest record that a topic or a client of ours takes."""

VALUE_BYTES_MAX = MESSAGE_BYTES_MAX - 64 * 1024
"""The largest value that is sent: what is left for key, headers and framing is ample."""

_DAY_MS = 24 * 60 * 60 * 1000
_FOREVER_MS = -1


class Partitions(Enum):
    """How many partitions a topic has."""

    PER_BOOK = "as many as the setting PORTFOLIO_PARTITIONS says"
    ONE = "one"


class TopicSpec(NamedTuple):
    """A topic."""

    name: str
    key: str
    """What the key is, in words."""
    carries: str
    retention_ms: int
    """How long a record is kept at least; -1 is forever."""
    compacted: bool = False
    """Whether the last record of each key is kept for good."""
    partitions: Partitions = Partitions.PER_BOOK
    max_message_bytes: int = 1024 * 1024
    compaction_lag_ms: int = 0
    """How long compaction leaves a record alone, where it is compacted."""

    @property
    def short_name(self) -> str:
        """What the setting `PORTFOLIO_RETENTION_DAYS` calls it."""
        return self.name.removeprefix(f"{APP_ID}.")

    @property
    def is_log(self) -> bool:
        """Whether it must be kept for ever and whole, as only the log of record must."""
        return self.retention_ms == _FOREVER_MS and not self.compacted

    @property
    def configuration(self) -> dict[str, str]:
        """Kafka's own names for it."""
        deletes = self.retention_ms != _FOREVER_MS or not self.compacted
        policy = [*(["compact"] if self.compacted else []), *(["delete"] if deletes else [])]
        lag = {"min.compaction.lag.ms": str(self.compaction_lag_ms)} if self.compaction_lag_ms else {}
        return lag | {
            "cleanup.policy": ",".join(policy),
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(self.max_message_bytes),
        }


ACCOUNT_EVENTS = TopicSpec(
    "portfolio.account-events",
    "account",
    "the log of record: events of an account, one or a page of them, in the order the exchange reported them",
    _FOREVER_MS,
    max_message_bytes=MESSAGE_BYTES_MAX,
)
EXECUTIONS = TopicSpec("portfolio.executions", "account", "executions announced by trading bots", 7 * _DAY_MS)
EXECUTION_FINDINGS = TopicSpec(
    "portfolio.execution-findings",
    "account",
    "executions without a fill, fills without an execution, and those that differ; and when they fit after all",
    30 * _DAY_MS,
)
MARKS = TopicSpec(
    "portfolio.marks",
    "partition",
    "mark prices, conflated; the same page to every partition",
    _DAY_MS,
    max_message_bytes=MESSAGE_BYTES_MAX,
)
JOURNAL = TopicSpec(
    "portfolio.journal",
    "account",
    "the whole change that one record of the log made, for whoever keeps a copy",
    7 * _DAY_MS,
    max_message_bytes=MESSAGE_BYTES_MAX,
)
PNL = TopicSpec(
    "portfolio.pnl",
    "account",
    "the account as a whole: equity, realized, unrealized, fees",
    7 * _DAY_MS,
    compacted=True,
)
POSITIONS = TopicSpec(
    "portfolio.positions", "account:symbol", "a position opened, changed, closed", 7 * _DAY_MS, compacted=True
)
OPEN_POSITIONS = TopicSpec(
    "portfolio.open-positions",
    "account",
    "all open positions of an account, valued, at regular times",
    7 * _DAY_MS,
    compacted=True,
    max_message_bytes=MESSAGE_BYTES_MAX,
)
PERFORMANCE = TopicSpec(
    "portfolio.performance",
    "account",
    "performance figures of an account over each period, at regular times",
    7 * _DAY_MS,
    compacted=True,
)
BALANCES = TopicSpec(
    "portfolio.balances",
    "account:asset",
    "a balance, with ledger and exchange side by side",
    _FOREVER_MS,
    compacted=True,
)
ALERTS = TopicSpec(
    "portfolio.alerts",
    "alert:rule:account:subject",
    "alerts raised and cleared, acknowledgements, silences; an account's in one partition",
    _FOREVER_MS,
    compacted=True,
)
ALERT_STATE = TopicSpec(
    "portfolio.alert-state",
    "view:account",
    "what the watch over the alerts knows, for its next start; whoever has its partition watches",
    _FOREVER_MS,
    compacted=True,
    partitions=Partitions.ONE,
)
DEAD_LETTERS = TopicSpec(
    "portfolio.dead-letters",
    "as it came",
    "what could not be read: the raw bytes, the reason, topic, partition and offset",
    30 * _DAY_MS,
    partitions=Partitions.ONE,
    max_message_bytes=MESSAGE_BYTES_MAX,
)
AUDIT = TopicSpec(
    "portfolio.audit",
    "none",
    "the audit trail: corrections, alerts, logins, use of keys, changes of the configuration",
    _FOREVER_MS,
    partitions=Partitions.ONE,
)
BOOKS_CHANGELOG = TopicSpec(
    f"{APP_ID}-{BOOKS_TABLE}-changelog",
    "account",
    "the last value of each book, from which a worker recovers its table",
    _FOREVER_MS,
    compacted=True,
    max_message_bytes=MESSAGE_BYTES_MAX,
    # An old book that came late must not displace the newest before a recovery has put that right: streams.tables.
    compaction_lag_ms=_DAY_MS,
)

TOPICS = (
    ACCOUNT_EVENTS,
    EXECUTIONS,
    EXECUTION_FINDINGS,
    MARKS,
    JOURNAL,
    PNL,
    POSITIONS,
    OPEN_POSITIONS,
    PERFORMANCE,
    BALANCES,
    ALERTS,
    ALERT_STATE,
    DEAD_LETTERS,
    AUDIT,
    BOOKS_CHANGELOG,
)
"""Every topic of the service."""


def with_retention(spec: TopicSpec, days: Mapping[str, float]) -> TopicSpec:
    """The topic, kept for as long as the setting `PORTFOLIO_RETENTION_DAYS` says.

    Args:
        spec: A topic as it is declared here.
        days: Days by the short names of topics; those that it does not name stay as they are.

    Raises:
        RemediableError: It names what is no topic, or one that must be kept for ever.
    """
    changeable = {one.short_name for one in TOPICS if one.retention_ms != _FOREVER_MS}
    if unknown := sorted(days.keys() - changeable):
        raise RemediableError(
            f"PORTFOLIO_RETENTION_DAYS cannot be set for {', '.join(unknown)}",
            f"It can for {', '.join(sorted(changeable))}; whatever else there is, is kept for ever",
        )
    chosen = days.get(spec.short_name)
    return spec if chosen is None else spec._replace(retention_ms=round(chosen * _DAY_MS))
