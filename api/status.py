"""The state of the pipeline, asked of every part at once."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from api import schemas
from api.dependencies import Services
from infra.postgres.accounts import AccountState
from infra.postgres.errors import DatabaseError, describe
from infra.postgres.view import log_positions
from infra.redis.client import RedisAway

_GRACE_S: Final = 15.0
_KAFKA_TIMEOUT_S: Final = 1.0
_SILENT_AFTER_S: Final = 10.0


@dataclass(slots=True)
class _Database:
    error: str | None = None
    took_ms: float | None = None
    account: AccountState | None = None


@dataclass(slots=True)
class _Gateway:
    error: str | None = None
    took_ms: float | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str | None:
        """What the gateway last said that it does; None if it never did."""
        return self.fields.get("state")

    @property
    def silent_s(self) -> float:
        """How long ago it last said anything."""
        return max(0.0, time.time() - (_integer(self.fields, "heartbeat_time_us") or 0) / 1e6)

    @property
    def is_silent(self) -> bool:
        """Whether it should have said something since."""
        return self.state is not None and self.silent_s > _SILENT_AFTER_S


async def status_of(services: Services, account: str) -> schemas.Status:
    """Ask the database, Redis and the broker, and put together what they say about an account."""
    database, gateway, kafka_error = await asyncio.gather(
        _ask_database(services, account), _ask_redis(services, account), _ask_kafka(services.settings.brokers)
    )
    state = database.account
    lag_s = None if state is None else max(0.0, time.time() - state.valued_time_us / 1e6)
    # Prices may stand still; a balance sync is on the log at least once in its interval.
    stale_after_s = services.settings.balance_sync_interval_s + _GRACE_S
    is_stale = lag_s is not None and lag_s > stale_after_s
    sync_status = _sync_status(gateway, lag_s, is_stale=is_stale)
    return schemas.Status(
        account=account,
        sync_status=sync_status,
        gateway_state=gateway.state,
        last_sync=_integer(gateway.fields, "last_sync_time_us") or None,
        last_event=None if state is None else state.event_time_us,
        last_valuation=None if state is None else state.valued_time_us,
        sync_lag_seconds=None if lag_s is None else round(lag_s, 3),
        sync_errors=_integer(gateway.fields, "sync_errors"),
        api_response_time_ms=_number(gateway.fields, "rest_latency_ms") or None,
        database_connection="disconnected" if database.error else "connected",
        database_response_time_ms=database.took_ms,
        redis_connection="disconnected" if gateway.error else "connected",
        redis_response_time_ms=gateway.took_ms,
        kafka_connection="disconnected" if kafka_error else "connected",
        binance_connection=_binance(gateway),
        log_position=None if state is None else log_positions([state]),
        duplicates=0 if state is None else state.duplicates,
        conflicts=0 if state is None else state.conflicts,
        problems=_problems(database, gateway, kafka_error, lag_s if is_stale else None),
    )


async def _ask_database(services: Services, account: str) -> _Database:
    started = time.perf_counter()
    try:
        async with services.reader.view(account) as view:
            return _Database(took_ms=_elapsed_ms(started), account=view.accounts.get(account))
    except DatabaseError as error:
        return _Database(error=str(error))


async def _ask_redis(services: Services, account: str) -> _Gateway:
    started = time.perf_counter()
    try:
        fields = await services.redis.fields(f"portfolio:gateway:{account}")
    except RedisAway as error:
        return _Gateway(error=str(error))
    return _Gateway(took_ms=_elapsed_ms(started), fields=fields)


async def _ask_kafka(brokers: str) -> str | None:
    """Why no broker accepts connections; None when one does."""
    reason = "no broker is set"
    for broker in brokers.split(","):
        host, _, port = broker.strip().rpartition(":")
        try:
            async with asyncio.timeout(_KAFKA_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host, int(port))
        except (OSError, ValueError, TimeoutError) as error:
            reason = f"{broker}: {describe(error)}"
        else:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            return None
    return reason


def _sync_status(
    gateway: _Gateway, lag_s: float | None, *, is_stale: bool
) -> Literal["live", "syncing", "stale", "unknown"]:
    if lag_s is None:
        return "unknown" if gateway.state is None or gateway.is_silent else "syncing"
    if is_stale:
        return "stale"
    return "live" if gateway.state in {None, "live"} else "syncing"


def _binance(gateway: _Gateway) -> schemas.Connection:
    if gateway.state is None or gateway.is_silent:
        return "unknown"
    return "connected" if gateway.state in {"live", "syncing"} else "disconnected"


def _problems(database: _Database, gateway: _Gateway, kafka_error: str | None, stale_s: float | None) -> list[str]:
    told = []
    if database.error:
        told.append(f"Postgres: {database.error}")
    if gateway.error:
        told.append(f"Redis does not answer ({gateway.error}); start it, or set REDIS_URL")
    if kafka_error:
        told.append(f"Kafka does not answer ({kafka_error}); start it, or set KAFKA_BROKERS")
    if database.error is None and database.account is None:
        told.append("No account has arrived: is `portfolio gateway` running, and `portfolio worker`?")
    if stale_s is not None:
        told.append(
            f"The newest prices are {_age(stale_s)} old: is `portfolio gateway` running, and `portfolio worker`?"
        )
    if gateway.is_silent:
        told.append(f"The gateway has said nothing for {_age(gateway.silent_s)}: is `portfolio gateway` running?")
    elif gateway.state not in {None, "live"}:
        told.append(f"The gateway is {gateway.state}; its log says why")
    return told


def _age(seconds: float) -> str:
    for length, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


def _integer(fields: Mapping[str, str], name: str) -> int | None:
    try:
        return int(fields[name])
    except (KeyError, ValueError):
        return None


def _number(fields: Mapping[str, str], name: str) -> float | None:
    try:
        return float(fields[name])
    except (KeyError, ValueError):
        return None


def _elapsed_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1_000, 3)
