"""What is remembered of the use of keys: best effort, since the API itself writes nothing to the database."""

import logging
from collections.abc import Awaitable
from typing import Any, Final, cast

import redis.asyncio
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

LAST_USES: Final = "portfolio:access:last-use"
ANNOUNCED: Final = "portfolio:access:announced"
"""A stream of entries for the audit trail, which a worker carries on."""

_ANNOUNCED_MAX: Final = 100_000
_TIMEOUT_S: Final = 2.0


class AccessNotes:
    """Notes who came; without Redis, only the log says so."""

    def __init__(self, url: str) -> None:
        """Prepare; it connects when it is first used.

        Args:
            url: redis://[:password@]host:port/db.
        """
        self._redis: Any = redis.asyncio.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def used(self, key_id: str, time_us: int) -> None:
        """Note when a key was used."""
        try:
            await self._redis.hset(LAST_USES, key_id, time_us)
        except (RedisError, OSError, TimeoutError) as error:
            logger.debug("the use of key %s is not noted: %s", key_id, error)

    async def announce(self, record: bytes) -> None:
        """Put an entry of the audit trail where a worker finds it."""
        try:
            await self._redis.xadd(ANNOUNCED, {"record": record}, maxlen=_ANNOUNCED_MAX, approximate=True)
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("Redis is away (%s); this does not reach the audit trail: %s", error, record.decode())


async def last_uses(url: str) -> dict[str, int]:
    """When each key was last used, by id; empty without Redis."""
    async with redis.asyncio.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S) as client:
        try:
            found = await cast("Awaitable[dict[bytes, bytes]]", client.hgetall(LAST_USES))
        except (RedisError, OSError, TimeoutError):
            return {}
    return {name.decode(): int(value) for name, value in found.items()}
