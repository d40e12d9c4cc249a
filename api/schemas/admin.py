"""The state of the pipeline, and what went wrong."""

from typing import Literal

from pydantic import Field

from api.schemas.base import Answer, Instant


class Health(Answer):
    """Whether the process answers, and is of use."""

    status: Literal["ok"] = "ok"


Connection = Literal["connected", "disconnected", "unknown"]


SyncStatus = Literal["live", "syncing", "stale", "failed", "unknown"]


class AccountStatus(Answer):
    """The state of one account."""

    account: str
    sync_status: SyncStatus
    gateway_state: str | None = Field(description="What the gateway says of it.")
    sync_lag_seconds: float | None = Field(description="Age of the newest prices in its book.")
    stale_assets: dict[str, Instant | None] = Field(
        description="Assets that it holds whose price does not move, since their market is halted or delisted, and the "
        "time that it was made, null where nobody knows it."
    )


class Status(Answer):
    """The state of the pipeline, part by part."""

    account: str = Field(description="The account that is told of; of several, the one that is worst off.")
    accounts: list[AccountStatus] = Field(description="Every account that was asked for.")
    sync_status: SyncStatus = Field(
        description="live: events arrive and prices are fresh, in every account; syncing: the gateway is catching up; "
        "stale: prices are older than they should be; failed: a person must clear something; unknown: nobody has told."
    )
    gateway_state: str | None = Field(description="What the gateway says of itself.")
    last_sync: Instant | None = Field(description="Last full comparison with the exchange.")
    last_event: Instant | None = Field(description="The newest event in the books.")
    last_valuation: Instant | None = Field(description="The time of the newest prices in the books.")
    sync_lag_seconds: float | None = Field(description="Age of the newest prices in the books.")
    sync_errors: int | None
    api_response_time_ms: float | None = Field(description="The exchange's REST API, as the gateway last measured.")
    database_connection: Connection
    database_response_time_ms: float | None
    redis_connection: Connection
    redis_response_time_ms: float | None
    kafka_connection: Connection
    binance_connection: Connection = Field(description="As the gateway says.")
    log_position: str | None = Field(description="account@partition:offset of the log of record.")
    duplicates: int = Field(description="Events that were refused because they had been applied.")
    conflicts: int = Field(description="Events that were refused because they contradict what had been applied.")
    problems: list[str] = Field(description="What is wrong, each with its remedy.")


class Problem(Answer):
    """What went wrong (RFC 9457), as `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do about it.")
    instance: str = Field(description="The path that was asked for.")


class SyncState(Answer):
    """How one account keeps up with the exchange, as its gateway says."""

    account: str
    state: str | None = Field(description="syncing, live, reconnecting, failed, stopped; null: no gateway has told.")
    problem: str = Field(description="Why it is reconnecting or has failed; empty when nothing is wrong.")
    heartbeat: Instant | None
    last_sync: Instant | None = Field(description="When the log and the exchange's balances were last found equal.")
    last_event: Instant | None
    sync_errors: int = Field(description="Connections and syncs that ended in an error since its start.")
    handovers: int = Field(description="How often a new connection took over from an old one without a gap.")
    unread_events: int = Field(description="Events of the stream that were unknown or unreadable since its start.")
    backfill_phase: str = Field(description="reading or publishing, while a history is brought over.")
    backfill_events: int
    backfill_percent: float
    backfill_end: Instant | None = Field(description="When the phase is expected to end.")
    unclassified_flows: int = Field(description="Flows on the log whose kind is not known (yet).")
    histories_problem: str = Field(description="What the exchange answers instead of histories; empty: all is well.")
    weight_used: int = Field(description="Request weight of the running minute, as the exchange counts it.")
    agrees: bool | None = Field(description="Whether ledger and exchange agree on every asset; null: nothing is known.")


class Setting(Answer):
    """A setting in force; a secret is masked."""

    variable: str
    value: str = Field(description="Empty: it is unset.")
    default: str
    meaning: str


class AuditLine(Answer):
    """An entry of the audit trail, chained to all before it."""

    offset: int = Field(description="Its place on the topic portfolio.audit.")
    time: Instant
    kind: str = Field(description="correction, operation, alert, login, key or configuration.")
    action: str
    actor: str
    account: str
    subject: str
    details: dict[str, str]
    hash: str = Field(description="SHA-256 of the entry and the hash before it, hexadecimal.")


class AlertLine(Answer):
    """An alert as it is now."""

    id: str
    rule: str
    kind: str
    severity: str
    account: str
    subject: str
    status: str = Field(description="raised or cleared.")
    text: str
    raised: Instant
    changed: Instant
    cleared: Instant | None
    silenced: bool
    acknowledged_by: str


class DeadLetterLine(Answer):
    """A record that could not be read or booked; `portfolio dead-letters show` has its bytes."""

    id: str = Field(description="As `portfolio dead-letters` names it.")
    time: Instant
    source: str = Field(description="topic:partition:offset of the record.")
    key: str
    bytes: int
    reason: str
