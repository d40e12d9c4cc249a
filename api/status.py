"""The state of the pipeline, asked of every part at once."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from api import schemas
from api.dependencies import Services
from infra.errors import RemediableError
from infra.portfolio_file import AccountConfig, load_accounts
from infra.postgres.accounts import AccountState
from infra.postgres.errors import DatabaseError, describe
from infra.postgres.view import log_positions
from infra.redis.client import RedisAway
from infra.redis.sink_problems import KEY as SINK_PROBLEMS

_GRACE_S: Final = 15.0
_KAFKA_TIMEOUT_S: Final = 1.0
_SILENT_AFTER_S: Final = 10.0


@dataclass(slots=True)
class _Database:
    error: str | None = None
    took_ms: float | None = None
    accounts: Mapping[str, AccountState] = field(default_factory=dict)


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


@dataclass(slots=True, kw_only=True)
class _Account:
    """One account, as database and gateway tell of it."""

    name: str
    state: AccountState | None
    gateway: _Gateway
    stale_after_s: float
    has_database: bool
    stands_still: bool
    """Whether the sink writes nothing of it to Postgres."""

    @property
    def lag_s(self) -> float | None:
        """Age of the newest prices."""
        return None if self.state is None else max(0.0, time.time() - self.state.valued_time_us / 1e6)

    @property
    def is_stale(self) -> bool:
        """Whether the newest prices are older than they can be when all is well."""
        return self.lag_s is not None and self.lag_s > self.stale_after_s

    @property
    def sync_status(self) -> schemas.SyncStatus:
        """All of it in one word."""
        gateway = self.gateway
        if gateway.state == "failed" and not gateway.is_silent:
            return "failed"
        if self.lag_s is None:
            return "unknown" if gateway.state is None or gateway.is_silent else "syncing"
        if self.is_stale or self.stands_still:
            return "stale"
        return "live" if gateway.state in {None, "live"} else "syncing"

    def problems(self) -> list[str]:
        """What is wrong, each with its remedy."""
        gateway, told = self.gateway, []
        if self.has_database and self.state is None and gateway.state != "failed":
            told.append("No account has arrived: is `portfolio gateway` running, and `portfolio worker`?")
        if self.is_stale and self.lag_s is not None:
            told.append(
                f"The newest prices are {_age(self.lag_s)} old: is `portfolio gateway` running, and `portfolio worker`?"
            )
        if gateway.is_silent:
            told.append(f"The gateway has said nothing for {_age(gateway.silent_s)}: is `portfolio gateway` running?")
        elif gateway.state not in {None, "live"}:
            reason = gateway.fields.get("problem") or _backfill(gateway.fields) or "its log says why"
            told.append(f"The gateway is {gateway.state}: {reason}")
        if histories_problem := gateway.fields.get("histories_problem"):
            told.append(f"Flows without a kind stay unclassified: {histories_problem}")
        return told


def _backfill(fields: Mapping[str, str]) -> str:
    """How far the gateway is with a history; empty when it brings none over."""
    phase = fields.get("backfill_phase")
    if not phase:
        return ""
    left_s = (_integer(fields, "backfill_end_time_us") or 0) / 1e6 - time.time()
    end = f", done in about {_age(left_s)}" if left_s > 0 else ""
    return f"{phase} the history, {fields.get('backfill_events')} events, {fields.get('backfill_percent')} %{end}"


_WORST_FIRST: Final = ("failed", "unknown", "stale", "syncing", "live")


def followed(services: Services) -> list[str]:
    """The names of the accounts that the service follows, as far as portfolio.toml can be read."""
    try:
        return [account.name for account in load_accounts(services.settings)]
    except RemediableError:
        return [services.settings.account]


async def status_of(services: Services, only: Collection[str] | None) -> schemas.Status:
    """Ask the database, Redis and the broker, and put together what they say.

    Args:
        services: What is asked.
        only: The accounts; None: all that are followed. What is told once is told of the one that is worst off.
    """
    settings = services.settings
    told: list[str] = []
    configs: Sequence[AccountConfig] = ()
    try:
        configs = load_accounts(settings)
    except RemediableError as error:
        told.append(str(error))
    names = sorted(only) if only is not None else [each.name for each in configs] or [settings.account]
    database, kafka_error, sink_problems, gateways = await asyncio.gather(
        _ask_database(services, only),
        _ask_kafka(settings.brokers),
        _ask_sink(services),
        asyncio.gather(*(_ask_redis(services, name) for name in names)),
    )
    from_bots = {each.name for each in configs if each.source == "executions"}
    accounts = [
        _Account(
            name=name,
            state=database.accounts.get(name),
            gateway=gateway,
            # Prices may stand still; a balance sync is on the log at least once in its interval, and for an account
            # without an exchange a valuation point.
            stale_after_s=_GRACE_S
            + (settings.valuation_interval_s if name in from_bots else settings.balance_sync_interval_s),
            has_database=database.error is None,
            stands_still=name in database.accounts and database.accounts[name].log_partition in sink_problems,
        )
        for name, gateway in zip(names, gateways, strict=True)
    ]
    told += [*_common_problems(database, gateways[0], kafka_error), *dict.fromkeys(sink_problems.values())]
    told += [
        problem if len(accounts) == 1 else f"{each.name}: {problem}" for each in accounts for problem in each.problems()
    ]
    return _status(accounts, database, kafka_error, told)


def _status(
    accounts: Sequence[_Account], database: _Database, kafka_error: str | None, problems: list[str]
) -> schemas.Status:
    worst = min(accounts, key=lambda each: _WORST_FIRST.index(each.sync_status))
    state, gateway, lag_s = worst.state, worst.gateway, worst.lag_s
    states = [each.state for each in accounts if each.state is not None]
    return schemas.Status(
        account=worst.name,
        accounts=[
            schemas.AccountStatus(
                account=each.name,
                sync_status=each.sync_status,
                gateway_state=each.gateway.state,
                sync_lag_seconds=None if each.lag_s is None else round(each.lag_s, 3),
                stale_assets=_stale_assets(each.gateway.fields),
            )
            for each in accounts
        ],
        sync_status=worst.sync_status,
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
        log_position=log_positions(states) if states else None,
        duplicates=sum(each.duplicates for each in states),
        conflicts=sum(each.conflicts for each in states),
        problems=problems,
    )


async def _ask_database(services: Services, accounts: Collection[str] | None) -> _Database:
    started = time.perf_counter()
    try:
        async with services.reader.view(accounts) as view:
            return _Database(took_ms=_elapsed_ms(started), accounts=dict(view.accounts))
    except DatabaseError as error:
        return _Database(error=str(error))


async def _ask_redis(services: Services, account: str) -> _Gateway:
    started = time.perf_counter()
    try:
        fields = await services.redis.fields(f"portfolio:gateway:{account}")
    except RedisAway as error:
        return _Gateway(error=str(error))
    return _Gateway(took_ms=_elapsed_ms(started), fields=fields)


async def _ask_sink(services: Services) -> dict[int, str]:
    """What keeps the sink from writing, by partition of the log; nothing is known without Redis."""
    try:
        found = await services.redis.fields(SINK_PROBLEMS)
    except RedisAway:
        return {}
    return {int(partition): text for partition, text in found.items() if partition.isdecimal()}


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


def _binance(gateway: _Gateway) -> schemas.Connection:
    if gateway.state is None or gateway.is_silent:
        return "unknown"
    return "connected" if gateway.state in {"live", "syncing"} else "disconnected"


def _common_problems(database: _Database, gateway: _Gateway, kafka_error: str | None) -> list[str]:
    told = []
    if database.error:
        told.append(f"Postgres: {database.error}")
    if gateway.error:
        told.append(f"Redis does not answer ({gateway.error}); start it, or set REDIS_URL")
    if kafka_error:
        told.append(f"Kafka does not answer ({kafka_error}); start it, or set KAFKA_BROKERS")
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


def _stale_assets(fields: Mapping[str, str]) -> dict[str, int | None]:
    try:
        told = msgspec.json.decode(fields.get("stale_assets", "{}"), type=dict[str, int])
    except msgspec.DecodeError:
        return {}
    return {asset: time_us or None for asset, time_us in told.items()}
