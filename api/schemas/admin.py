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
