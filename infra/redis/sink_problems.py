"""What keeps the sink from writing a partition of the journal: a hash in Redis, for the status. Best effort."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any, Final

import redis.asyncio
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

KEY: Final = "portfolio:sink:problems"
"""Partition of the log to what is in the way, and what to do."""

_KEPT_S: Final = 60
"""A sink tells again sooner; what one has told that is no more is forgotten by then."""

_TIMEOUT_S: Final = 1.0


class SinkProblems:
    """Tells what is in the way; without Redis the log alone says so."""

    def __init__(self, url: str) -> None:
        """Prepare; it connects when it is first used.

        Args:
            url: redis://[:password@]host:port/db.
        """
        self._redis: Any = redis.asyncio.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def tell(self, partitions: Collection[int], problems: Mapping[int, str]) -> None:
        """Tell how it is with partitions.

        Args:
            partitions: Those that this sink has.
            problems: What is in the way, for those of them that have something.
        """
        fine = [str(partition) for partition in partitions if partition not in problems]
        try:
            async with asyncio.timeout(_TIMEOUT_S), self._redis.pipeline(transaction=False) as pipeline:
                if fine:
                    pipeline.hdel(KEY, *fine)
                if problems:
                    pipeline.hset(KEY, mapping={str(number): text for number, text in problems.items()})
                    pipeline.expire(KEY, _KEPT_S)
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            logger.debug("the status does not say how the sink is, Redis is away: %s", error)
