"""Trading events in Redis: Streams, read as a member of a consumer group, and Pub/Sub channels, by pattern."""

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NamedTuple

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from infra.redis.client import RedisAway

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 5.0
_WAIT_MS: Final = 1_000
_ENTRIES_MAX: Final = 500
_FIRST_ID: Final = "0-0"
_NEW: Final = ">"


class StreamEntry(NamedTuple):
    """An entry of a stream; it stays pending in the group until it is acknowledged."""

    stream: str
    entry_id: str
    fields: dict[bytes, bytes]
    """Empty when the entry was trimmed from the stream while it was pending."""


class ChannelMessage(NamedTuple):
    """A message of a Pub/Sub channel."""

    channel: str
    data: bytes


class StreamReader:
    """Reads streams as one consumer of a group; what it does not acknowledge is given again.

    What was pending for this consumer comes first (a consumer that was killed finds it again under its name), then
    what others left pending for too long, then what is new. An entry that is read again by somebody slow is given
    twice; none is left out.
    """

    def __init__(self, url: str, streams: Iterable[str], *, group: str, consumer: str, claim_after_ms: int) -> None:
        """Prepare a reader; it connects when it first reads.

        Args:
            url: redis://[:password@]host:port/db.
            streams: Names of the streams; one that does not exist is made.
            group: Name of the consumer group; a new one begins with the first entry that is kept.
            consumer: Name of this consumer; no two that run at once may share it.
            claim_after_ms: How long an entry is pending before its consumer counts as dead.
        """
        self._client: Any = _client(url)
        self._streams = sorted(streams)
        self._group = group
        self._consumer = consumer
        self._claim_after_ms = claim_after_ms
        self._has_groups = False
        self._has_own_pending = True

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def read(self) -> list[StreamEntry]:
        """The next entries, in order within each stream; none when nothing came within a second.

        Every entry that was given must be acknowledged before the next call.

        Raises:
            RedisAway: Redis does not answer, or refuses; nothing is lost, call again.
        """
        try:
            with _translated():
                await self._make_groups()
                return await self._own_pending() or await self._claimed() or await self._new()
        except RedisAway:
            # The groups may be gone with the data, and what Redis just gave us may not have arrived.
            self._has_groups = False
            self._has_own_pending = True
            raise

    async def acknowledge(self, entries: Iterable[StreamEntry]) -> None:
        """Tell Redis that the entries are dealt with. Harmless when repeated.

        Raises:
            RedisAway: Redis does not answer; call again.
        """
        by_stream: dict[str, list[str]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, []).append(entry.entry_id)
        with _translated():
            for stream, ids in by_stream.items():
                await self._client.xack(stream, self._group, *ids)

    async def _make_groups(self) -> None:
        if self._has_groups:
            return
        for stream in self._streams:
            try:
                await self._client.xgroup_create(stream, self._group, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
        self._has_groups = True

    async def _own_pending(self) -> list[StreamEntry]:
        if not self._has_own_pending:
            return []
        found = await self._read_group(_FIRST_ID)
        self._has_own_pending = bool(found)
        return found

    async def _claimed(self) -> list[StreamEntry]:
        found: list[StreamEntry] = []
        for stream in self._streams:
            answer = await self._client.xautoclaim(
                stream, self._group, self._consumer, self._claim_after_ms, _FIRST_ID, count=_ENTRIES_MAX
            )
            found += _entries(stream, answer[1])
        if found:
            logger.warning("%d entries were left pending for too long; they are taken over", len(found))
        return found

    async def _new(self) -> list[StreamEntry]:
        return await self._read_group(_NEW)

    async def _read_group(self, after: str) -> list[StreamEntry]:
        answer = await self._client.xreadgroup(
            self._group, self._consumer, dict.fromkeys(self._streams, after), count=_ENTRIES_MAX, block=_WAIT_MS
        )
        return [entry for stream, rows in answer or () for entry in _entries(stream.decode(), rows)]


@asynccontextmanager
async def subscribed(url: str, patterns: Sequence[str]) -> AsyncIterator[AsyncIterator[ChannelMessage]]:
    """Subscribe to the channels of some patterns, and give their messages as they come.

    Pub/Sub keeps nothing: what is sent while nobody is subscribed is gone.

    Raises:
        RedisAway: Redis does not answer, or the connection was lost; subscribe again.
    """
    client: Any = _client(url)
    channels = client.pubsub(ignore_subscribe_messages=True)
    try:
        with _translated():
            await channels.psubscribe(*patterns)
        yield _messages(channels)
    finally:
        await channels.aclose()
        await client.aclose()


async def _messages(channels: Any) -> AsyncIterator[ChannelMessage]:  # noqa: ANN401 - redis types it loosely
    while True:
        with _translated():
            message = await channels.get_message(timeout=_WAIT_MS / 1_000)
        if message is not None:
            yield ChannelMessage(message["channel"].decode(errors="replace"), message["data"])


def _client(url: str) -> Any:  # noqa: ANN401 - redis types its answers loosely
    # The shape of answers to stream commands depends on the protocol.
    return redis.asyncio.from_url(
        url, protocol=2, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, health_check_interval=10
    )


def _entries(stream: str, rows: Iterable[tuple[bytes | None, dict[bytes, bytes] | None]]) -> list[StreamEntry]:
    return [
        StreamEntry(stream, entry_id.decode(), dict(fields or {})) for entry_id, fields in rows if entry_id is not None
    ]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise RedisAway(str(error) or type(error).__name__) from error
