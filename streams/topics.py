"""The topics: what each carries, its key, its partitions and how long it is kept.

Topics with one partition for each of the books (`PER_BOOK`) are assigned to workers together with the table, so that
whoever has a partition of the log has the books of its accounts, their marks and their journal.
"""

from enum import Enum
from typing import NamedTuple

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

    @property
    def is_log(self) -> bool:
        """Whether it must be kept for ever and whole, as only the log of record must."""
        return self.retention_ms == _FOREVER_MS and not self.compacted

    @property
    def configuration(self) -> dict[str, str]:
        """Kafka's own names for it."""
        deletes = self.retention_ms != _FOREVER_MS or not self.compacted
        policy = [*(["compact"] if self.compacted else []), *(["delete"] if deletes else [])]
        return {
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
BALANCES = TopicSpec(
    "portfolio.balances",
    "account:asset",
    "a balance, with ledger and exchange side by side",
    _FOREVER_MS,
    compacted=True,
)
ALERTS = TopicSpec("portfolio.alerts", "account", "alerts raised and cleared", 30 * _DAY_MS)
DEAD_LETTERS = TopicSpec(
    "portfolio.dead-letters",
    "as it came",
    "what could not be read: the raw bytes, the reason, topic, partition and offset",
    30 * _DAY_MS,
    partitions=Partitions.ONE,
    max_message_bytes=MESSAGE_BYTES_MAX,
)
BOOKS_CHANGELOG = TopicSpec(
    f"{APP_ID}-{BOOKS_TABLE}-changelog",
    "account",
    "the last value of each book, from which a worker recovers its table",
    _FOREVER_MS,
    compacted=True,
    max_message_bytes=MESSAGE_BYTES_MAX,
)

TOPICS = (
    ACCOUNT_EVENTS,
    EXECUTIONS,
    MARKS,
    JOURNAL,
    PNL,
    POSITIONS,
    BALANCES,
    ALERTS,
    DEAD_LETTERS,
    BOOKS_CHANGELOG,
)
"""Every topic of the service."""
