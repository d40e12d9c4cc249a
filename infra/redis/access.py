"""What is remembered of the use of keys: best effort, since the API itself writes nothing to the database."""

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Mapping
from typing import Any, Final, cast

import redis.asyncio
from redis.exceptions import RedisError

from infra.backoff import backoff_s

logger = logging.getLogger(__name__)

LAST_USES: Final = "portfolio:access:last-use"
ANNOUNCED: Final = "portfolio:access:announced"
"""A stream of entries for the audit trail, and of settings at a start, which a worker carries on."""

_ANNOUNCED_MAX: Final = 100_000
_TIMEOUT_S: Final = 2.0
_BACKOFF_FIRST_S: Final = 1.0
_BACKOFF_MAX_S: Final = 60.0


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

    async def announce_settings(self, part: str, settings: Mapping[str, str]) -> None:
        """Put what a part was started with where a worker finds it, which notes what changed; until Redis takes it.

        Args:
            part: Which part of the service it is.
            settings: Its settings by name, without secrets.
        """
        fields = {"part": part, "settings": json.dumps(settings)}
        for attempt in itertools.count():
            try:
                await self._redis.xadd(ANNOUNCED, fields, maxlen=_ANNOUNCED_MAX, approximate=True)
            except (RedisError, OSError, TimeoutError) as error:
                logger.debug("the settings are not announced yet: %s", error)
                await asyncio.sleep(backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S))
            else:
                return


async def last_uses(url: str) -> dict[str, int]:
    """When each key was last used, by id; empty without Redis."""
    async with redis.asyncio.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S) as client:
        try:
            found = await cast("Awaitable[dict[bytes, bytes]]", client.hgetall(LAST_USES))
        except (RedisError, OSError, TimeoutError):
            return {}
    return {name.decode(): int(value) for name, value in found.items()}
