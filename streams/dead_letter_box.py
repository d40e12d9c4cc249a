"""Dead letters as a person meets them: looked through, looked at, and published again where they came from."""

import asyncio
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from infra.errors import RemediableError
from infra.settings import Settings
from streams.connection import client_options, needing_kafka
from streams.dead_letters import KEPT_BYTES_MAX
from streams.reading import reading
from streams.records import DeadLetter, UnreadableRecord, dead_letters
from streams.topics import DEAD_LETTERS, MESSAGE_BYTES_MAX, TOPICS

_PARTITION = TopicPartition(DEAD_LETTERS.name, 0)
"""The topic has one."""
_POLL_MS = 500
_WINDOW = 2_000
"""Letters that are looked at in one go, from the end."""
_BATCH = 500
"""Records that are on their way to the brokers at once, at most."""
_BATCH_BYTES = 32 * 1024 * 1024
"""Their values together, about: a letter may have 8 MiB."""
_ID = re.compile(r"(?P<topic>[^:]+):(?P<partition>\d{1,9}):(?P<offset>\d{1,18})")
_ORIGINS = {spec.name: spec for spec in TOPICS}


class LetterId(NamedTuple):
    """Where a dead letter is kept; written `topic:partition:offset`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "LetterId":
        """The inverse of `str`.

        Raises:
            RemediableError: It is no such id.
        """
        found = _ID.fullmatch(text)
        if found is None or found["topic"] != DEAD_LETTERS.name:
            raise RemediableError(
                f"{text!r} is no id of a dead letter", f"Give one as {DEAD_LETTERS.name}:0:17; `list` shows them"
            )
        return cls(found["topic"], int(found["partition"]), int(found["offset"]))


class KeptLetter(NamedTuple):
    """A dead letter, and where it is kept."""

    id: LetterId
    letter: DeadLetter


class Wanted(NamedTuple):
    """Which dead letters are asked for; what is left as it is excludes none."""

    reason: str = ""
    """A part of the reason."""
    topic: str | None = None
    """The topic they came from."""
    account: str | None = None
    """The key that they came with."""
    after: LetterId | None = None
    """Only those that were kept after this one."""
    before: LetterId | None = None
    """Only those that were kept before this one."""

    def includes(self, letter: DeadLetter) -> bool:
        """Whether the letter is one of them, wherever it is kept."""
        account_matches = self.account is None or letter.key == self.account.encode()
        return self.reason in letter.reason and self.topic in {None, letter.topic} and account_matches

    def narrow(self, first: int, end: int) -> tuple[int, int]:
        """The offsets to look at, of those that there are; the second is not one of them."""
        first = first if self.after is None else max(first, self.after.offset + 1)
        end = end if self.before is None else min(end, self.before.offset)
        return first, max(first, end)


class Heading(NamedTuple):
    """What a list shows of a dead letter: not what it holds, which may be many megabytes."""

    id: LetterId
    time_us: int
    origin: str
    key: bytes | None
    reason: str


OnProgress = Callable[[int, int], None]
"""Called with how many letters were looked at, and of how many."""


def heading_of(kept: KeptLetter) -> Heading:
    """What a list shows of a dead letter."""
    letter = kept.letter
    origin = f"{letter.topic}:{letter.partition}:{letter.offset}"
    return Heading(kept.id, letter.time_us, origin, letter.key, letter.reason)


async def newest_letters(settings: Settings, wanted: Wanted, limit: int) -> list[Heading]:
    """The dead letters that are wanted, newest first, at most `limit`.

    They are looked for from the end, so that the newest of very many are found at once.

    Raises:
        RemediableError: Kafka does not answer, or has no such topic.
    """
    found: list[Heading] = []
    async with _box(settings) as box:
        first, end = wanted.narrow(*await box.offsets())
        while end > first and len(found) < limit:
            begin = max(first, end - _WINDOW)
            window: deque[Heading] = deque(maxlen=limit - len(found))
            async for kept in box.read(begin, end):
                if wanted.includes(kept.letter):
                    window.append(heading_of(kept))
            found.extend(reversed(window))
            end = begin
    return found


async def count_letters(
    settings: Settings, wanted: Wanted, kind_of: Callable[[DeadLetter], str], on_progress: OnProgress
) -> Counter[str]:
    """How many dead letters are wanted, by kind.

    Raises:
        RemediableError: Kafka does not answer, or has no such topic.
    """
    counts = Counter[str]()
    async with _box(settings) as box:
        first, end = wanted.narrow(*await box.offsets())
        async for kept in box.read(first, end):
            on_progress(kept.id.offset + 1 - first, end - first)
            if wanted.includes(kept.letter):
                counts[kind_of(kept.letter)] += 1
    return counts


async def find_letter(settings: Settings, wanted: LetterId) -> KeptLetter:
    """The dead letter with an id.

    Raises:
        RemediableError: There is none, or Kafka does not answer.
    """
    async with _box(settings) as box:
        first, end = await box.offsets()
        if first <= wanted.offset < end:
            async for kept in box.read(wanted.offset, wanted.offset + 1):
                return kept
    raise RemediableError(
        f"there is no dead letter {wanted}", "`portfolio dead-letters list` shows those that are kept"
    )


def why_not_retried(letter: DeadLetter) -> str | None:
    """Why a dead letter cannot be published again; None when it can."""
    if letter.topic not in _ORIGINS:
        return f"it came from {letter.topic}, which is no topic of Kafka; the gateway reads what it missed over REST"
    if letter.value is not None and len(letter.value) == KEPT_BYTES_MAX and "(cut to " in letter.reason:
        return (
            f"only its beginning was kept; the record itself is at {letter.topic}[{letter.partition}]@{letter.offset}"
        )
    if letter.value is None and letter.key is None:
        return "it has neither key nor value"
    return None


@dataclass(slots=True)
class Retry:
    """What a retry has done so far, also when it was interrupted.

    Attributes:
        published: How many records the brokers have taken.
        left_out: How many cannot be published again.
        reached: The last letter that is done with; a retry that was interrupted goes on after it.
    """

    published: int = 0
    left_out: int = 0
    reached: LetterId | None = None

    async def run(self, settings: Settings, wanted: Wanted, on_progress: OnProgress) -> None:
        """Publish the records that are wanted as they came, in this order, and wait until the brokers have them.

        A record of a topic that is keyed by account goes to the partition of its key, whatever partition it was in.
        What is kept while this runs, because a record is refused once more, is not looked at.

        Raises:
            RemediableError: Kafka does not answer, or does not take one; those before it are published.
        """
        async with _box(settings) as box, _producer(settings) as producer:
            first, end = wanted.narrow(*await box.offsets())
            batch: list[KeptLetter] = []
            size = 0
            async for kept in box.read(first, end):
                if not wanted.includes(kept.letter):
                    continue
                batch.append(kept)
                size += len(kept.letter.value or b"")
                if len(batch) >= _BATCH or size >= _BATCH_BYTES:
                    await self._publish(producer, batch)
                    batch.clear()
                    size = 0
                    on_progress(kept.id.offset + 1 - first, end - first)
            await self._publish(producer, batch)

    async def _publish(self, producer: AIOKafkaProducer, batch: Sequence[KeptLetter]) -> None:
        chosen = [kept for kept in batch if why_not_retried(kept.letter) is None]
        pending = [await _send(producer, kept.letter) for kept in chosen]
        await asyncio.gather(*pending)
        self.published += len(chosen)
        self.left_out += len(batch) - len(chosen)
        if batch:
            self.reached = batch[-1].id


async def publish_again(settings: Settings, letter: DeadLetter) -> None:
    """Publish one record as it came, and wait until the brokers have it.

    Raises:
        RemediableError: It cannot be published again, or Kafka does not take it.
    """
    if (reason := why_not_retried(letter)) is not None:
        raise RemediableError(f"a dead letter cannot be published again: {reason}", "Leave it out")
    async with _producer(settings) as producer:
        await (await _send(producer, letter))


async def _send(producer: AIOKafkaProducer, letter: DeadLetter) -> "asyncio.Future[Any]":
    is_by_account = letter.key is not None and _ORIGINS[letter.topic].key == "account"
    partition = None if is_by_account else letter.partition
    sent: asyncio.Future[Any] = await producer.send(letter.topic, letter.value, key=letter.key, partition=partition)
    return sent


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **client_options(settings), enable_idempotence=True, acks="all", max_request_size=MESSAGE_BYTES_MAX
    )
    try:
        with needing_kafka(settings):
            await producer.start()
            yield producer
    finally:
        await producer.stop()


class _Box:
    """The topic of the dead letters."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def offsets(self) -> tuple[int, int]:
        """The first offset that is kept, and the one after the last."""
        first = (await self._consumer.beginning_offsets([_PARTITION]))[_PARTITION]
        end = (await self._consumer.end_offsets([_PARTITION]))[_PARTITION]
        return first, end

    async def read(self, first: int, end: int) -> AsyncIterator[KeptLetter]:
        """The letters from one offset up to another, oldest first."""
        if first >= end:
            return
        # An assignment looks for a position by itself first, and would overwrite one that is set before it is done.
        await self._consumer.position(_PARTITION)
        self._consumer.seek(_PARTITION, first)
        while await self._consumer.position(_PARTITION) < end:
            batch = await self._consumer.getmany(_PARTITION, timeout_ms=_POLL_MS)
            for message in batch.get(_PARTITION, ()):
                if message.offset >= end:
                    return
                where = LetterId(message.topic, message.partition, message.offset)
                yield KeptLetter(where, _decoded(where, message.key, message.value, message.timestamp))


@asynccontextmanager
async def _box(settings: Settings) -> AsyncIterator[_Box]:
    with needing_kafka(settings):
        async with reading(settings, [_PARTITION]) as consumer:
            yield _Box(consumer)


def _decoded(where: LetterId, key: bytes | None, value: bytes | None, timestamp_ms: int) -> DeadLetter:
    """The letter; one that is unreadable itself is shown as its own origin, so that it hides no other."""
    try:
        return dead_letters.decode(value)
    except UnreadableRecord as error:
        return DeadLetter(
            topic=where.topic,
            partition=where.partition,
            offset=where.offset,
            reason=f"this dead letter cannot be read itself: {error}",
            time_us=timestamp_ms * 1_000,
            key=key,
            value=value,
        )
