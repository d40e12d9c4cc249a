"""The latest marks in Redis, for readers that have no stream: best effort, and never in the way."""

import logging
import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from portfolio import plain
from streams.records import MarksPage

logger = logging.getLogger(__name__)

_TIMEOUT_S = 0.5
_RETRY_S = 10.0


def marks_key(reporting: str) -> str:
    """The hash with the marks in one reporting currency: asset to price."""
    return f"portfolio:marks:{reporting}"


class MarkCache:
    """Writes pages of marks to Redis; while it is away, tries again now and then."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis: Redis | None = None
        self._away_until_s = 0.0

    async def put(self, page: MarksPage) -> None:
        """Replace the marks that the page has. A failure is told once, until Redis is back."""
        if time.monotonic() < self._away_until_s:
            return
        if self._redis is None:
            self._redis = Redis.from_url(self._url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for reporting, rates in page.rates.items():
                    if rates:
                        pipeline.hset(marks_key(reporting), mapping={a: plain(rate) for a, rate in rates.items()})
                await pipeline.execute()
        except (RedisError, OSError) as error:
            if not self._away_until_s:
                logger.warning("Redis is away, the latest marks are not cached until it is back: %s", error)
            self._away_until_s = time.monotonic() + _RETRY_S
        else:
            if self._away_until_s:
                logger.warning("Redis is back: the latest marks are cached again")
            self._away_until_s = 0.0
