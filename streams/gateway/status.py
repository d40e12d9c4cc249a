"""What the gateway tells operators: a hash in Redis for each account, `portfolio:gateway:<account>`. Best effort."""

import asyncio
import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from infra.settings import Settings

log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_TIMEOUT_S = 1.0


class GatewayState(StrEnum):
    """What the gateway is doing for an account."""

    SYNCING = "syncing"
    LIVE = "live"
    RECONNECTING = "reconnecting"
    FAILED = "failed"
    """Something that a person must clear is in the way; it is tried again now and then."""
    STOPPED = "stopped"


class GatewayStatus(msgspec.Struct, kw_only=True):
    """The heartbeat of an account. Times are epoch microseconds by the exchange's clock; zero is never."""

    state: GatewayState = GatewayState.RECONNECTING
    problem: str = ""
    """Why it is reconnecting or has failed; empty when nothing is wrong."""
    heartbeat_time_us: int = 0
    last_sync_time_us: int = 0
    """When the log and the exchange's balances were last found equal."""
    last_event_time_us: int = 0
    sync_errors: int = 0
    """Connections and syncs that ended in an error since the start."""
    handovers: int = 0
    """How often a new connection took over from an old one without a gap."""
    unread_events: int = 0
    """Events of the stream that were unknown or could not be read since the start."""
    backfill_phase: str = ""
    """`reading` or `publishing` while a history is brought over; empty when none is."""
    backfill_events: int = 0
    """Events read or published in this phase."""
    backfill_percent: float = 0.0
    """How much of the phase is done, as far as it can be told."""
    backfill_end_time_us: int = 0
    """When the phase is expected to end; zero when that cannot be told yet."""
    unclassified_flows: int = 0
    """Flows on the log whose kind is not known (yet)."""
    histories_problem: str = ""
    """Why flows cannot be told their kind: what the exchange answers instead of its histories; empty: all were read."""
    stale_assets: dict[str, int] = {}
    """Assets held whose price does not move, since their market is halted or delisted, and when it was made."""
    rest_latency_ms: float = 0.0
    weight_used: int = 0
    """Request weight of the running minute, as the exchange counts it."""


def status_key(account: str) -> str:
    """The key of an account's status in Redis."""
    return f"portfolio:gateway:{account}"


class StatusWriter:
    """Writes the status of accounts while the gateway runs; without Redis it goes on without."""

    def __init__(self, settings: Settings, statuses: Mapping[str, GatewayStatus]) -> None:
        """Prepare.

        Args:
            settings: Where Redis is.
            statuses: The status of each account by its name; read again at every writing.
        """
        self._statuses = statuses
        self._redis: Redis = Redis.from_url(
            settings.redis_dsn, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        self._is_away = False

    async def close(self) -> None:
        """Write once more, and close the connection."""
        await self.write()
        await self._redis.aclose()

    async def write(self) -> None:
        """Write every status once."""
        try:
            async with asyncio.timeout(_TIMEOUT_S), self._redis.pipeline(transaction=False) as pipeline:
                for account, status in self._statuses.items():
                    pipeline.hset(status_key(account), mapping=_fields(status))
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            if not self._is_away:
                log.warning("the status cannot be written to Redis: %s", error)
            self._is_away = True
        else:
            self._is_away = False

    async def pause(self) -> None:
        """Wait until the next heartbeat is due."""
        await asyncio.sleep(_INTERVAL_S)


def _fields(status: GatewayStatus) -> dict[Any, Any]:
    values = msgspec.structs.asdict(status)
    return {
        name: msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)
        for name, value in values.items()
    }
