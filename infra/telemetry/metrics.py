"""Every metric of the service: name, meaning, labels.

A metric belongs to a stage of the pipeline, and a process tells of the stages that it runs, so nothing is reported
twice and nothing as zero by who has no part in it. Names and units follow Prometheus' conventions. Labels are few and
bounded: accounts, partitions, and words out of lists that the code has; never symbols, keys, ids or texts.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

# When a counter began is of use in OpenMetrics only; here each would be a series of its own.
disable_created_metrics()  # type: ignore[no-untyped-call]

_LATENCY_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_REQUEST_S: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

PROCESS: Final = CollectorRegistry()
GATEWAY: Final = CollectorRegistry()
LEDGER: Final = CollectorRegistry()
VALUATION: Final = CollectorRegistry()
SINK: Final = CollectorRegistry()
EXECUTIONS: Final = CollectorRegistry()
ALERTS: Final = CollectorRegistry()
READER: Final = CollectorRegistry()
API: Final = CollectorRegistry()

STAGES: Final[Mapping[str, tuple[CollectorRegistry, ...]]] = {
    "gateway": (PROCESS, GATEWAY),
    "worker": (PROCESS, LEDGER, VALUATION, SINK, READER),
    "executions": (PROCESS, EXECUTIONS),
    "alerts": (PROCESS, ALERTS),
    "api": (PROCESS, API, READER),
}
"""The stages that each process runs, by its name."""

# -- every process

ProcessCollector(registry=PROCESS)
PlatformCollector(registry=PROCESS)
BUILD: Final = Gauge("portfolio_build_info", "1 while the process runs.", ("version",), registry=PROCESS)

# -- gateway

GATEWAY_STATE: Final = Gauge(
    "portfolio_gateway_state",
    "1 for the state that the gateway is in with an account, 0 for the others.",
    ("account", "state"),
    registry=GATEWAY,
)
GATEWAY_RECEIVED: Final = Counter(
    "portfolio_gateway_events_received",
    "Events that the exchange's user data stream told, by kind.",
    ("account", "kind"),
    registry=GATEWAY,
)
GATEWAY_PUBLISHED: Final = Counter(
    "portfolio_gateway_events_published",
    "Events that the log of record has taken, by kind.",
    ("account", "kind"),
    registry=GATEWAY,
)
GATEWAY_SESSIONS: Final = Counter(
    "portfolio_gateway_sessions",
    "Sessions that were begun: the first one, and every reconnection.",
    ("account",),
    registry=GATEWAY,
)
GATEWAY_SYNC_ERRORS: Final = Counter(
    "portfolio_gateway_sync_errors",
    "Sessions and syncs that an error ended.",
    ("account",),
    registry=GATEWAY,
)
GATEWAY_HANDOVERS: Final = Counter(
    "portfolio_gateway_handovers",
    "Connections that took over from an old one without a gap.",
    ("account",),
    registry=GATEWAY,
)
GATEWAY_UNREAD: Final = Counter(
    "portfolio_gateway_unread_events",
    "Events of the stream that were unknown or could not be read.",
    ("account",),
    registry=GATEWAY,
)
GATEWAY_EVENT_AGE: Final = Gauge(
    "portfolio_gateway_last_event_age_seconds",
    "Age of the newest event on the log, by the exchange's clock.",
    ("account",),
    registry=GATEWAY,
)
GATEWAY_SYNC_AGE: Final = Gauge(
    "portfolio_gateway_last_sync_age_seconds",
    "Time since the log and the exchange's balances were last found equal.",
    ("account",),
    registry=GATEWAY,
)
GATEWAY_REST_LATENCY: Final = Gauge(
    "portfolio_gateway_rest_latency_seconds",
    "How long the last request to the exchange took.",
    ("account",),
    registry=GATEWAY,
)
GATEWAY_WEIGHT_USED: Final = Gauge(
    "portfolio_gateway_weight_used",
    "Request weight of the running minute, as the exchange counts it.",
    registry=GATEWAY,
)
GATEWAY_WEIGHT_LIMIT: Final = Gauge(
    "portfolio_gateway_weight_limit", "Request weight that the exchange allows in a minute.", registry=GATEWAY
)
GATEWAY_BACKFILL: Final = Gauge(
    "portfolio_gateway_backfill_ratio",
    "How much of a history has been brought over in this phase; 1 when none is under way.",
    ("account",),
    registry=GATEWAY,
)
GATEWAY_BACKFILL_EVENTS: Final = Gauge(
    "portfolio_gateway_backfill_events",
    "Events of a history read or published in this phase.",
    ("account",),
    registry=GATEWAY,
)
GATEWAY_STALE_ASSETS: Final = Gauge(
    "portfolio_gateway_stale_assets",
    "Assets held whose price does not move, since their market is halted or delisted.",
    ("account",),
    registry=GATEWAY,
)
GATEWAY_UNCLASSIFIED: Final = Gauge(
    "portfolio_gateway_unclassified_flows",
    "Flows on the log whose kind is not known (yet).",
    ("account",),
    registry=GATEWAY,
)

# -- ledger

LEDGER_RECORDS: Final = Counter(
    "portfolio_ledger_records",
    "Records of the log that were dealt with, by partition.",
    ("partition",),
    registry=LEDGER,
)
LEDGER_EVENTS: Final = Counter(
    "portfolio_ledger_events",
    "Events by what became of them: booked, duplicate (booked before), or conflict (an identifier with other content).",
    ("outcome",),
    registry=LEDGER,
)
LEDGER_DEAD_LETTERS: Final = Counter(
    "portfolio_ledger_dead_letters", "Records that could not be read or booked.", registry=LEDGER
)
LEDGER_REWINDS: Final = Counter(
    "portfolio_ledger_rewinds", "Times that records had been skipped and were read again.", registry=LEDGER
)
LEDGER_APPLY: Final = Histogram(
    "portfolio_ledger_apply_seconds",
    "From a record's turn to its outputs acknowledged and its book written.",
    buckets=_LATENCY_S,
    registry=LEDGER,
)
LEDGER_FILL_TO_PNL: Final = Histogram(
    "portfolio_ledger_fill_to_pnl_seconds",
    "From the exchange's time of a fill to its pnl acknowledged by the broker; fills of the last five minutes only.",
    buckets=_LATENCY_S,
    registry=LEDGER,
)
LEDGER_LAG_RECORDS: Final = Gauge(
    "portfolio_ledger_lag_records",
    "Records of the log that are not in the books yet.",
    ("partition",),
    registry=LEDGER,
)
LEDGER_LAG_SECONDS: Final = Gauge(
    "portfolio_ledger_lag_seconds",
    "How long the books have been behind the log, at most; 0 when they are not.",
    ("partition",),
    registry=LEDGER,
)
LEDGER_ACCOUNTS: Final = Gauge("portfolio_ledger_accounts", "Accounts whose books this worker keeps.", registry=LEDGER)
LEDGER_DIFFERING: Final = Gauge(
    "portfolio_ledger_differing_assets",
    "Assets of which ledger and exchange do not hold the same.",
    ("account",),
    registry=LEDGER,
)

# -- valuation

VALUATION_PAGES: Final = Counter(
    "portfolio_valuation_pages",
    "Pages of marks by what became of them: valued, stale (replaced long ago), or unreadable.",
    ("outcome",),
    registry=VALUATION,
)
VALUATION_RECORDS: Final = Counter(
    "portfolio_valuation_pnl_records", "Accounts that were valued at new marks, and told.", registry=VALUATION
)
VALUATION_MARKS_AGE: Final = Gauge(
    "portfolio_valuation_marks_age_seconds", "Age of the newest page of marks.", registry=VALUATION
)

# -- sink

SINK_RECORDS: Final = Counter(
    "portfolio_sink_records", "Records that were written to Postgres, by topic.", ("topic",), registry=SINK
)
SINK_WRITE: Final = Histogram(
    "portfolio_sink_write_seconds", "How long a batch took to be written.", buckets=_LATENCY_S, registry=SINK
)
SINK_ERRORS: Final = Counter(
    "portfolio_sink_errors", "Batches that were not written and are tried again.", registry=SINK
)
SINK_LAG_RECORDS: Final = Gauge(
    "portfolio_sink_lag_records",
    "Records of the journal that are not in Postgres yet.",
    ("partition",),
    registry=SINK,
)
SINK_LAG_SECONDS: Final = Gauge(
    "portfolio_sink_lag_seconds",
    "How long Postgres has been behind the journal, at most; 0 when it is not.",
    ("partition",),
    registry=SINK,
)

# -- executions of bots

EXECUTIONS_CARRIED: Final = Counter(
    "portfolio_executions_announced",
    "Announcements of bots by what became of them: carried, dead_letter, or ignored (no execution).",
    ("outcome",),
    registry=EXECUTIONS,
)
EXECUTIONS_FINDINGS: Final = Counter(
    "portfolio_executions_findings",
    "Executions and fills that do not fit each other, by what is found; raised or cleared.",
    ("finding", "change"),
    registry=EXECUTIONS,
)

# -- alerts

ALERTS_WATCHING: Final = Gauge(
    "portfolio_alerts_watching", "1 in the process that watches, 0 in those that wait for their turn.", registry=ALERTS
)
ALERTS_OPEN: Final = Gauge(
    "portfolio_alerts_open", "Alerts that are raised and not cleared.", ("severity",), registry=ALERTS
)
ALERTS_MESSAGES: Final = Counter(
    "portfolio_alerts_messages",
    "Messages to targets: told, or failed and tried again.",
    ("target", "outcome"),
    registry=ALERTS,
)

# -- reading Postgres

READER_CONNECTIONS: Final = Gauge(
    "portfolio_reader_connections",
    "Connections to the database that is read, by state: in_use, idle, or max (the bound).",
    ("state",),
    registry=READER,
)
READER_WAIT: Final = Histogram(
    "portfolio_reader_wait_seconds",
    "How long a question waited for a connection.",
    buckets=_REQUEST_S,
    registry=READER,
)

# -- API

API_REQUESTS: Final = Histogram(
    "portfolio_api_request_seconds",
    "From a request to the beginning of its answer, by the route's template and the status.",
    ("method", "route", "status"),
    buckets=_REQUEST_S,
    registry=API,
)
API_IN_PROGRESS: Final = Gauge(
    "portfolio_api_requests_in_progress", "Requests that are being answered, streams included.", registry=API
)
API_LIVE_READERS: Final = Gauge("portfolio_api_live_readers", "Clients of the live stream.", registry=API)
API_LIVE_LEFT_OUT: Final = Counter(
    "portfolio_api_live_left_out", "Events that slow clients of the live stream were not told of.", registry=API
)
API_CACHE: Final = Counter(
    "portfolio_api_cache_reads",
    "Looks into a cache, answers (kept by this process) or figures (kept in Redis): hit or miss.",
    ("cache", "outcome"),
    registry=API,
)


def exposition(process: str) -> bytes:
    """What a process has to tell, in Prometheus' text format.

    Args:
        process: Its name, one of `STAGES`.
    """
    BUILD.labels(_version()).set(1)
    return b"".join(generate_latest(registry) for registry in STAGES[process])


def sample_names(registries: Iterable[CollectorRegistry] | None = None) -> frozenset[str]:
    """The names of all series that processes may tell, with the suffixes of counters and histograms.

    Args:
        registries: Of these stages; None: of all.
    """
    chosen = {registry for stages in STAGES.values() for registry in stages} if registries is None else registries
    names: set[str] = set()
    for registry in chosen:
        for family in registry.collect():
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
            names.update(family.name + suffix for suffix in suffixes)
    return frozenset(names)


def _version() -> str:
    try:
        return version("portfolio-service")
    except PackageNotFoundError:
        return "0"
