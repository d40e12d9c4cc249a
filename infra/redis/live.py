"""The live feed: a Redis Stream of what has just been stored, for every API instance to hand on.

The ids of the entries are those that clients resume by. The stream keeps the newest entries only: whoever has been
away for longer reads the books again.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import redis.asyncio
from redis.exceptions import RedisError

from infra.redis.client import RedisAway

logger = logging.getLogger(__name__)

STREAM: Final = "portfolio:live"
ENTRIES_KEPT: Final = 20_000

_TIMEOUT_S: Final = 2.0
_BLOCK_MS: Final = 1_000
_ENTRIES_MAX: Final = 1_000
_BATCH_MAX: Final = 500
_CONNECTIONS_MAX: Final = 16
_CONNECTION_WAIT_S: Final = 20.0
"""After a restart every reader resumes at once, and waits for its turn."""


class LiveEntry(NamedTuple):
    """One thing that has happened.

    Attributes:
        id: Place in the feed; later ones are greater, compared as `place_of` reads them.
        topic: What it is: pnl, positions, balances, trades or alerts.
        account: Whose it is.
        key: What it is the newest state of, such as a position; empty: an event of its own, such as a trade.
        data: The record, JSON.
    """

    id: str
    topic: str
    account: str
    key: str
    data: bytes


class LiveFeed:
    """Adds to the feed and reads it. It is a convenience: what it carries is stored before."""

    def __init__(self, url: str) -> None:
        """Make a feed; it connects when it is first used.

        Args:
            url: redis://[:password@]host:port/db.
        """
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS_MAX,
            timeout=_CONNECTION_WAIT_S,
            socket_timeout=_TIMEOUT_S + _BLOCK_MS / 1_000,
            socket_connect_timeout=_TIMEOUT_S,
        )
        self._redis: Any = redis.asyncio.Redis.from_pool(pool)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def add(self, entries: Sequence[LiveEntry]) -> None:
        """Add entries; their own ids are not used. Who waits for one gets all of them at once, up to 500.

        Raises:
            RedisAway: Redis does not answer; some may have been added.
        """
        try:
            for start in range(0, len(entries), _BATCH_MAX):
                async with self._redis.pipeline(transaction=True) as pipeline:
                    for entry in entries[start : start + _BATCH_MAX]:
                        fields = {"topic": entry.topic, "account": entry.account, "key": entry.key, "data": entry.data}
                        pipeline.xadd(STREAM, fields, maxlen=ENTRIES_KEPT, approximate=True)
                    await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisAway(str(error) or type(error).__name__) from error

    async def newest_id(self) -> str:
        """The id of the newest entry; `0-0` where there is none.

        Raises:
            RedisAway: Redis does not answer.
        """
        try:
            found = await self._redis.xrevrange(STREAM, count=1)
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisAway(str(error) or type(error).__name__) from error
        return found[0][0].decode() if found else "0-0"

    async def keeps_all_after(self, entry_id: str) -> bool:
        """Whether every entry after an id is still kept.

        Raises:
            RedisAway: Redis does not answer.
        """
        try:
            oldest = await self._redis.xrange(STREAM, count=1)
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisAway(str(error) or type(error).__name__) from error
        return bool(oldest) and place_of(oldest[0][0].decode()) <= place_of(entry_id)

    async def after(self, entry_id: str, *, wait: bool) -> list[LiveEntry]:
        """The entries after an id, in order; at most a thousand at once.

        Args:
            entry_id: The last one that is known.
            wait: Whether to wait up to a second for one.

        Raises:
            RedisAway: Redis does not answer.
        """
        try:
            told = await self._redis.xread({STREAM: entry_id}, count=_ENTRIES_MAX, block=_BLOCK_MS if wait else None)
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisAway(str(error) or type(error).__name__) from error
        return [_entry(name.decode(), fields) for _, entries in told for name, fields in entries]


def place_of(entry_id: str) -> tuple[int, int]:
    """An id as what it is ordered by: milliseconds, and a number within them.

    Raises:
        ValueError: It is no id.
    """
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)


def _entry(name: str, fields: dict[bytes, bytes]) -> LiveEntry:
    return LiveEntry(
        id=name,
        topic=fields.get(b"topic", b"").decode(),
        account=fields.get(b"account", b"").decode(),
        key=fields.get(b"key", b"").decode(),
        data=fields.get(b"data", b"{}"),
    )
