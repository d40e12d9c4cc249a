"""A Redis that may be away: every answer is also possible without it."""

import logging
import time
from collections.abc import Awaitable
from typing import Final, TypeVar, cast

import redis.asyncio
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_TIMEOUT_S: Final = 0.5
_REST_S: Final = 1.0


class RedisAway(Exception):
    """Redis does not answer."""


class RedisClient:
    """Reads and writes what may be lost. After a failure it leaves Redis alone for a second, so that nobody waits."""

    def __init__(self, url: str) -> None:
        """Make a client; it connects when it is first used.

        Args:
            url: redis://[:password@]host:port/db.
        """
        self._client = redis.asyncio.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, max_connections=32
        )
        self._rests_until = 0.0
        self._is_away = False

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ping(self) -> None:
        """Return if Redis answers.

        Raises:
            RedisAway: It does not.
        """
        await self._ask(self._client.ping())

    async def cached(self, key: str) -> bytes | None:
        """What was kept under a key; None when nothing was, or Redis is away."""
        if self._rests():
            return None
        try:
            return cast("bytes | None", await self._ask(self._client.get(key)))
        except RedisAway:
            return None

    async def keep(self, key: str, value: bytes, *, seconds: int) -> None:
        """Keep a value for some time, if Redis is there."""
        if self._rests():
            return
        try:
            await self._ask(self._client.set(key, value, ex=seconds))
        except RedisAway:
            return

    async def fields(self, key: str) -> dict[str, str]:
        """The fields of a hash; empty when there is none.

        Raises:
            RedisAway: Redis does not answer.
        """
        found = await self._ask(cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall(key)))
        return {name.decode(): value.decode(errors="replace") for name, value in found.items()}

    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    async def _ask(self, question: Awaitable[_T]) -> _T:
        try:
            answer = await question
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = time.monotonic() + _REST_S
            if not self._is_away:
                self._is_away = True
                logger.warning("redis does not answer, going on without it: %s", error)
            raise RedisAway(str(error) or type(error).__name__) from error
        if self._is_away:
            self._is_away = False
            logger.info("redis answers again")
        return answer
