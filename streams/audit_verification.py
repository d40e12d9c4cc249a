"""Checking the audit trail: the topic, the copy in Postgres, the chain over both, and the log that corrections are in.

The chain is computed anew from the topic and compared with what Postgres has, place by place. Where the two differ, the
hash that was kept tells which of them still has what it was made of. Whoever can rewrite both can make them agree; that
is what an anchor is for, a place that was noted somewhere else.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.errors import RemediableError
from infra.postgres.audit import BEGINNING, Place, columns_of, decode_entry, head
from infra.postgres.audit_reader import ChainRow, chain_rows
from infra.postgres.connection import connected
from infra.settings import Settings
from portfolio.audit import AuditKind, chained_hash
from streams.audit import AUDIT_PARTITION
from streams.connection import needing_kafka
from streams.creation import ensure_topics
from streams.reading import reading, until_now
from streams.topics import AUDIT

_KAFKA_TIMEOUT_S: Final = 10.0
_CARRY_POLL_S: Final = 0.25
_READ_TIMEOUT_MS: Final = 5_000
_HASH_HEX: Final = 64
_SHOWN_MAX: Final = 100


class Fault(StrEnum):
    """What is wrong at a place of the trail."""

    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"
    NOT_CARRIED = "not carried"
    HASH = "hash"


class Finding(NamedTuple):
    """One thing that is wrong."""

    offset: int
    fault: Fault
    where: str
    """`topic`, `Postgres`, `both`, or the place in the log of record."""
    text: str


@dataclass(slots=True)
class Verification:
    """What was found.

    Attributes:
        entries: How many places were looked at.
        head: The newest place by the topic.
        findings: What is wrong, by offset; empty when nothing is.
    """

    entries: int = 0
    head: Place = BEGINNING
    findings: list[Finding] = field(default_factory=list)

    def add(self, offset: int, fault: Fault, where: str, text: str) -> None:
        """Note one thing that is wrong."""
        self.findings.append(Finding(offset, fault, where, text))


class _Pair(NamedTuple):
    offset: int
    on_topic: bytes | None
    in_postgres: ChainRow | None


class _Correction(NamedTuple):
    offset: int
    place: str
    record_sha256: str


def parse_anchor(text: str) -> Place:
    """Read a place as `Place` writes it: `OFFSET:HASH`.

    Raises:
        RemediableError: It is none.
    """
    offset, _, digest = text.partition(":")
    try:
        place = Place(int(offset), bytes.fromhex(digest))
    except ValueError:
        place = BEGINNING
    if place.offset < 0 or len(digest) != _HASH_HEX:
        raise RemediableError(f"{text!r} is no place of the trail", "Give one as `verify` prints it: 17:9f86d081...")
    return place


async def verify(settings: Settings, anchor: Place | None = None, *, carry_wait_s: float = 5.0) -> Verification:
    """Check the whole trail as it is now.

    Args:
        settings: How to reach the brokers and the database.
        anchor: A place that was noted before, which the trail must still have.
        carry_wait_s: How long a worker may take to bring to Postgres what was published just now.

    Raises:
        RemediableError: Kafka does not answer.
        DatabaseError: Postgres does not answer or was not migrated.
    """
    with needing_kafka(settings):
        await ensure_topics(settings, on_wait=lambda _line: None, timeout_s=_KAFKA_TIMEOUT_S, specs=[AUDIT])
        async with reading(settings, [AUDIT_PARTITION]) as consumer:
            await _wait_until_carried(settings, consumer, carry_wait_s)
            return await _verify(settings, consumer, anchor)


async def _verify(settings: Settings, consumer: AIOKafkaConsumer, anchor: Place | None) -> Verification:
    found = Verification()
    chain = _Chain(found, anchor)
    corrections: list[_Correction] = []
    async with connected(settings.database_dsn) as connection, connection.transaction(isolation="repeatable_read"):
        async for pair in _pairs(consumer, chain_rows(connection)):
            chain.check(pair)
            if (correction := _correction(pair)) is not None:
                corrections.append(correction)
    chain.finish()
    for correction in corrections:
        await _check_log(consumer, correction, found)
    return found


async def _wait_until_carried(settings: Settings, consumer: AIOKafkaConsumer, wait_s: float) -> None:
    end = (await consumer.end_offsets([AUDIT_PARTITION]))[AUDIT_PARTITION]
    async with connected(settings.database_dsn) as connection:
        for _ in range(int(wait_s / _CARRY_POLL_S)):
            if (await head(connection)).offset + 1 >= end:
                return
            await asyncio.sleep(_CARRY_POLL_S)


async def _pairs(consumer: AIOKafkaConsumer, rows: AsyncIterator[ChainRow]) -> AsyncIterator[_Pair]:
    """Both copies side by side, by offset."""
    row = await anext(rows, None)
    async for message in until_now(consumer):
        while row is not None and row.offset < message.offset:
            yield _Pair(row.offset, None, row)
            row = await anext(rows, None)
        if row is not None and row.offset == message.offset:
            yield _Pair(message.offset, message.value or b"", row)
            row = await anext(rows, None)
        else:
            yield _Pair(message.offset, message.value or b"", None)
    while row is not None:
        yield _Pair(row.offset, None, row)
        row = await anext(rows, None)


class _Chain:
    """Walks along the chain. After a fault it goes on from the hash that was kept, so that one fault is told once."""

    def __init__(self, found: Verification, anchor: Place | None) -> None:
        self._found = found
        self._anchor = anchor
        self._differing: list[tuple[int, bytes, bytes, bool]] = []
        self._on_topic: dict[bytes, int] = {}
        self._in_postgres: dict[bytes, int] = {}

    def check(self, pair: _Pair) -> None:
        """Check the next place."""
        found, (offset, on_topic, row) = self._found, pair
        before = found.head
        found.entries += 1
        if offset > before.offset + 1:
            gap = "the first entries are" if before is BEGINNING else "what comes next is"
            text = f"{gap} missing up to offset {offset - 1}, on the topic and in Postgres"
            found.add(before.offset + 1, Fault.REMOVED, "both", text)
        if on_topic is not None and (row is None or on_topic != row.record):
            self._on_topic[on_topic] = offset
        if row is not None and on_topic != row.record:
            self._in_postgres[row.record] = offset
        if row is None:
            text = "the topic has it, Postgres does not: removed there, or no worker runs that carries it"
            found.add(offset, Fault.NOT_CARRIED, "Postgres", text)
            found.head = Place(offset, chained_hash(before.hash, offset, on_topic or b""))
            return
        if on_topic is None:
            found.add(offset, Fault.REMOVED, "topic", "Postgres has it, the topic does not")
        elif on_topic != row.record:
            is_changed_on_topic = chained_hash(before.hash, offset, row.record) == row.hash
            self._differing.append((offset, on_topic, row.record, is_changed_on_topic))
        elif offset == before.offset + 1 and chained_hash(before.hash, offset, on_topic) != row.hash:
            found.add(offset, Fault.HASH, "Postgres", "its hash is not that of the entry and all before it")
        if row.columns != columns_of(row.offset, decode_entry(row.record)):
            found.add(offset, Fault.CHANGED, "Postgres", "its columns do not say what its record says")
        found.head = Place(offset, row.hash)
        if self._anchor is not None and self._anchor.offset == offset and self._anchor.hash != row.hash:
            text = "the hash here is not that of the anchor: something up to here was changed, and the chain with it"
            found.add(offset, Fault.HASH, "both", text)

    def finish(self) -> None:
        """Tell what can only be told at the end."""
        found, anchor = self._found, self._anchor
        for offset, on_topic, record, is_changed_on_topic in self._differing:
            if is_changed_on_topic:
                where, now, then = "topic", on_topic, self._in_postgres
            else:
                where, now, then = "Postgres", record, self._on_topic
            if now in then:
                found.add(offset, Fault.MOVED, where, f"what stands here belongs to offset {then[now]}")
            else:
                found.add(offset, Fault.CHANGED, where, f"it is not what was chained: {_shown(on_topic, record)}")
        if anchor is not None and anchor.offset > found.head.offset:
            text = f"the anchor is at offset {anchor.offset}, but the trail ends at {found.head.offset}"
            found.add(found.head.offset + 1, Fault.REMOVED, "both", text)
        found.findings.sort(key=lambda finding: finding.offset)


def _shown(on_topic: bytes, in_postgres: bytes) -> str:
    """The first field that differs; or that it is no entry at all."""
    topic, postgres = decode_entry(on_topic), decode_entry(in_postgres)
    if topic is None or postgres is None:
        return f"on the topic {on_topic[:_SHOWN_MAX]!r}, in Postgres {in_postgres[:_SHOWN_MAX]!r}"
    for name in topic.__struct_fields__:
        if getattr(topic, name) != getattr(postgres, name):
            return f"{name} is {getattr(topic, name)!r} on the topic, {getattr(postgres, name)!r} in Postgres"
    return "the bytes differ"


def _correction(pair: _Pair) -> _Correction | None:
    record = pair.on_topic if pair.in_postgres is None else pair.in_postgres.record
    entry = decode_entry(record or b"")
    if entry is None or entry.kind is not AuditKind.CORRECTION or "log" not in entry.details:
        return None
    return _Correction(pair.offset, entry.details["log"], entry.details.get("record_sha256", ""))


async def _check_log(consumer: AIOKafkaConsumer, correction: _Correction, found: Verification) -> None:
    """Whether the log of record still has the correction just as it was when it came into the trail."""
    try:
        topic, partition, offset = correction.place.rsplit(":", 2)
        place, number = TopicPartition(topic, int(partition)), int(offset)
    except ValueError:
        return
    consumer.assign([place])
    beginning, end = (await consumer.beginning_offsets([place]))[place], (await consumer.end_offsets([place]))[place]
    if not beginning <= number < end:
        text = f"the correction at {correction.place} is no longer in the log of record"
        found.add(correction.offset, Fault.REMOVED, correction.place, text)
        return
    consumer.seek(place, number)
    records = (await consumer.getmany(place, timeout_ms=_READ_TIMEOUT_MS, max_records=1)).get(place, [])
    value = records[0].value if records and records[0].offset == number else None
    if value is None or hashlib.sha256(value).hexdigest() != correction.record_sha256:
        text = f"the record at {correction.place} is not the correction that was made"
        found.add(correction.offset, Fault.CHANGED, correction.place, text)
