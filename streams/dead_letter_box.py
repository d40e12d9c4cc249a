"""Dead letters as a person meets them: looked through, looked at, and published again where they came from."""

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from infra.errors import RemediableError
from infra.settings import Settings
from streams.connection import client_options
from streams.dead_letters import KEPT_BYTES_MAX
from streams.records import DeadLetter, UnreadableRecord, dead_letters
from streams.topics import DEAD_LETTERS, MESSAGE_BYTES_MAX, TOPICS

_POLL_MS = 500
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


Matches = Callable[[DeadLetter], bool]


async def newest_letters(settings: Settings, matches: Matches, limit: int | None) -> list[KeptLetter]:
    """The dead letters that match, newest first.

    Args:
        settings: How to reach the brokers.
        matches: Which ones.
        limit: At most so many; None: all.

    Raises:
        RemediableError: Kafka does not answer, or has no such topic.
    """
    newest: deque[KeptLetter] = deque(maxlen=limit)
    async with _letters(settings) as letters:
        async for kept in letters:
            if matches(kept.letter):
                newest.append(kept)
    return list(reversed(newest))


async def find_letter(settings: Settings, wanted: LetterId) -> KeptLetter:
    """The dead letter with an id.

    Raises:
        RemediableError: There is none, or Kafka does not answer.
    """
    async with _letters(settings) as letters:
        async for kept in letters:
            if kept.id == wanted:
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
    return None


async def publish_again(settings: Settings, letters: Sequence[DeadLetter]) -> None:
    """Publish the records as they came, in this order, and wait until the broker has them.

    A record of a topic that is keyed by account goes to the partition of its key, whatever partition it was in.

    Raises:
        RemediableError: One cannot be published again, or Kafka does not take it; those before it are published.
    """
    for letter in letters:
        if (reason := why_not_retried(letter)) is not None:
            raise RemediableError(f"a dead letter cannot be published again: {reason}", "Leave it out")
    producer = AIOKafkaProducer(
        **client_options(settings), enable_idempotence=True, acks="all", max_request_size=MESSAGE_BYTES_MAX
    )
    try:
        await producer.start()
        for letter in letters:
            is_by_account = letter.key is not None and _ORIGINS[letter.topic].key == "account"
            partition = None if is_by_account else letter.partition
            await producer.send_and_wait(letter.topic, letter.value, key=letter.key, partition=partition)
    except (KafkaError, OSError) as error:
        raise _no_kafka(settings, error) from error
    finally:
        await producer.stop()


@asynccontextmanager
async def _letters(settings: Settings) -> AsyncIterator[AsyncIterator[KeptLetter]]:
    """Every dead letter that is kept at this moment, oldest first."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=MESSAGE_BYTES_MAX,
    )
    try:
        await consumer.start()
        yield _read(consumer)
    except (KafkaError, OSError) as error:
        raise _no_kafka(settings, error) from error
    finally:
        await consumer.stop()


async def _read(consumer: AIOKafkaConsumer) -> AsyncIterator[KeptLetter]:
    partition = TopicPartition(DEAD_LETTERS.name, 0)
    consumer.assign([partition])
    end = (await consumer.end_offsets([partition]))[partition]
    while await consumer.position(partition) < end:
        for message in (await consumer.getmany(partition, timeout_ms=_POLL_MS)).get(partition, ()):
            if message.offset < end:
                where = LetterId(message.topic, message.partition, message.offset)
                yield KeptLetter(where, _decoded(where, message.key, message.value, message.timestamp))


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


def _no_kafka(settings: Settings, error: Exception) -> RemediableError:
    return RemediableError(
        f"Kafka at {settings.brokers} did not do it ({error!r})", "Start it, and see `portfolio doctor` for the rest"
    )
