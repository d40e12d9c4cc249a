"""The hub: reads the feed once for this instance, and hands each message to every reader.

The feed is in Redis, so any number of instances tell the same. While Redis is away readers are told that the books
have changed, by looking at the database each second, so that they can read what they need over REST.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from api.live.messages import Message
from api.live.subscription import Subscription
from api.shared import Shared
from infra.postgres.errors import DatabaseError
from infra.redis.client import RedisAway
from infra.redis.live import LiveFeed

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 15.0
"""A stream says something at least this often."""

_POLL_S: Final = 1.0
_REST_S: Final = 0.05
"""Between two looks at the feed that find something. What comes thick is handed on together, so that streams cost the
requests beside them no more when books move fast; what comes alone does not wait."""
_TOLD_AT_ONCE: Final = 50
"""Readers that are told before requests have their turn again; each takes some 40 microseconds."""

LogPositions = Callable[[], Awaitable[str]]
"""Tells where the stored books stand in the log."""


class Hub:
    """Hands what happens to those who want to know."""

    def __init__(self, feed: LiveFeed, log_positions: LogPositions) -> None:
        """Make a hub.

        Args:
            feed: Where messages come from.
            log_positions: Asked each second while the feed is away.
        """
        self._feed = feed
        self._log_positions = log_positions
        self._readers: set[Subscription] = set()
        self._someone = asyncio.Event()
        self._last_id: str | None = None
        self._newest_id = Shared(feed.newest_id)
        self._is_degraded = False
        self._told_positions: str | None = None

    @property
    def readers(self) -> int:
        """How many read now."""
        return len(self._readers)

    async def run(self) -> None:
        """Hand on until cancelled; while nobody reads, nothing is read."""
        beating = asyncio.create_task(self._beat(), name="heartbeats")
        try:
            while True:
                await self._someone.wait()
                try:
                    await self._hand_on()
                except RedisAway as error:
                    await self._look_at_the_books(str(error))
        finally:
            beating.cancel()
            for reader in self._readers:
                reader.close()
            await self._feed.close()

    async def join(self, reader: Subscription, last_event_id: str | None) -> None:
        """Let a reader have what happens from now on, and what happened since the id that it saw last.

        Args:
            reader: The reader; it must leave.
            last_event_id: The id; None: from now on.
        """
        try:
            if self._last_id is None:
                self._begin_after(await self._newest_id.now())
        except RedisAway:
            logger.debug("whoever hands on finds out by itself")
        self._readers.add(reader)
        self._someone.set()
        if self._is_degraded:
            reader.offer(_degraded())
        if last_event_id is not None:
            await self._catch_up(reader, last_event_id)

    def _begin_after(self, newest_id: str) -> None:
        """Hand on what comes after an id, unless somebody who came at the same time has said so already."""
        if self._last_id is None:
            self._last_id = newest_id

    async def _catch_up(self, reader: Subscription, last_event_id: str) -> None:
        try:
            if not await self._feed.keeps_all_after(last_event_id):
                reader.offer(Message.about_stream("gap", reason="what happened since is no longer kept"))
            while missed := await self._feed.after(last_event_id, wait=False):
                for entry in missed:
                    reader.offer(Message.of_entry(entry))
                last_event_id = missed[-1].id
        except RedisAway:
            reader.offer(Message.about_stream("gap", reason="what happened since cannot be read now"))

    def leave(self, reader: Subscription) -> None:
        """Hand nothing more to a reader."""
        self._readers.discard(reader)
        if not self._readers:
            self._someone.clear()
            self._last_id = None

    async def _hand_on(self) -> None:
        last_id = await self._feed.newest_id() if self._last_id is None else self._last_id
        entries = await self._feed.after(last_id, wait=True)
        if self._is_degraded:
            self._is_degraded = False
            await self._tell(Message.about_stream("recovered"))
        await self._tell(*(Message.of_entry(entry) for entry in entries))
        # When everybody has left meanwhile, the next reader begins with what is newest then.
        self._last_id = (entries[-1].id if entries else last_id) if self._readers else None
        if entries:
            await asyncio.sleep(_REST_S)

    async def _beat(self) -> None:
        """One clock for all readers: who took nothing for a round, and has nothing to take, gets a heartbeat."""
        while True:
            await asyncio.sleep(HEARTBEAT_S / 2)
            for reader in self._readers:
                reader.beat()

    async def _look_at_the_books(self, reason: str) -> None:
        if not self._is_degraded:
            logger.warning("the live feed cannot be read: %s", reason)
            self._is_degraded = True
            await self._tell(_degraded())
        try:
            positions = await self._log_positions()
        except DatabaseError as error:
            logger.debug("the books cannot be read either: %s", error)
        else:
            if positions != self._told_positions:
                self._told_positions = positions
                await self._tell(Message.about_stream("changed", log_position=positions))
        await asyncio.sleep(_POLL_S)

    async def _tell(self, *messages: Message) -> None:
        for number, reader in enumerate(tuple(self._readers), start=1):
            for message in messages:
                reader.offer(message)
            if number % _TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)


def _degraded() -> Message:
    return Message.about_stream(
        "degraded", reason="Redis is away: `changed` says when to read the books again, until `recovered`"
    )
