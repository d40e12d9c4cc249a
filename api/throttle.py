"""How often a key may ask, and how often an address may fail. Redis makes the count that of all instances."""

import logging
import time
from typing import Any, Final

import redis.asyncio
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.exceptions import RedisError

from infra.postgres.audit import encode_entry, new_entry
from infra.redis.access import AccessNotes
from portfolio.audit import AuditKind

logger = logging.getLogger(__name__)

_FAILURES: Final = parse("10 per minute")
_REDIS_REST_S: Final = 5.0
_TIMEOUT_S: Final = 0.5
_PREFIX: Final = "portfolio:throttle"


class Throttle:
    """Counts requests by key and failures by address."""

    def __init__(self, redis_url: str, notes: AccessNotes, *, requests_per_minute: int) -> None:
        """Make a throttle.

        Args:
            redis_url: Where the counts of all instances are; while it is away each instance counts for itself.
            notes: Told of failures.
            requests_per_minute: What a key may ask; 0: any number.
        """
        self._limit = parse(f"{requests_per_minute} per minute") if requests_per_minute else None
        self._notes = notes
        self._pool = redis.asyncio.ConnectionPool.from_url(
            redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        options: Any = {"connection_pool": self._pool}  # documented, but missing in the signature
        storage = RedisStorage(f"async+{redis_url}", implementation="redispy", key_prefix=_PREFIX, **options)
        self._shared = FixedWindowRateLimiter(storage)
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._rests_until = 0.0

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def seconds_to_wait(self, key_id: str) -> int:
        """Count a request of a key; how long it must wait, 0 if it need not."""
        return 0 if self._limit is None else await self._hit(self._limit, "key", key_id)

    async def seconds_to_wait_after_failures(self, client: str) -> int:
        """How long an address must wait because it has failed too often; 0 if it need not."""
        limiter = self._limiter()
        try:
            return 0 if await limiter.test(_FAILURES, "failure", client) else await _left_s(limiter, _FAILURES, client)
        except (RedisError, OSError) as error:
            self._leave_redis(error)
            return await self.seconds_to_wait_after_failures(client)

    async def failed(self, client: str, why: str) -> None:
        """Count a failure of an address."""
        await self._hit(_FAILURES, "failure", client)
        entry = new_entry(AuditKind.LOGIN, "refused", actor=client, subject="api", details={"why": why[:200]})
        await self._notes.announce(encode_entry(entry))

    async def _hit(self, limit: RateLimitItem, kind: str, who: str) -> int:
        limiter = self._limiter()
        try:
            if await limiter.hit(limit, kind, who):
                return 0
            stats = await limiter.get_window_stats(limit, kind, who)
        except (RedisError, OSError) as error:
            self._leave_redis(error)
            return await self._hit(limit, kind, who)
        return max(1, round(stats.reset_time - time.time()))

    def _limiter(self) -> FixedWindowRateLimiter:
        return self._own if time.monotonic() < self._rests_until else self._shared

    def _leave_redis(self, error: Exception) -> None:
        logger.debug("each instance counts for itself, Redis is away: %s", error)
        self._rests_until = time.monotonic() + _REDIS_REST_S


async def _left_s(limiter: FixedWindowRateLimiter, limit: RateLimitItem, client: str) -> int:
    stats = await limiter.get_window_stats(limit, "failure", client)
    return max(1, round(stats.reset_time - time.time()))
