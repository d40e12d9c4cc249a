"""The audit trail on Kafka: how entries get onto its topic, and from there into the chain in Postgres.

The topic has one partition, so all entries have one order. There are three ways in. What is on a topic already tells of
itself: corrections in the log of record and what becomes of alerts are read from there, so nobody can make one without
its entry. What the API has to tell, which may only read the database, waits in a Redis Stream. Everything else waits in
the outbox in Postgres (`infra.postgres.audit.record`).

All ways publish first and then say that they have, so an entry may be there twice after a crash. It has the same id
then, and counts once.
"""

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from infra.postgres import audit
from infra.postgres.audit import ChainBroken, Place
from infra.postgres.configuration import note_configuration
from infra.postgres.connection import connected
from infra.redis.access import ANNOUNCED
from infra.redis.events import StreamReader
from infra.settings import Settings
from portfolio.audit import AuditEntry, AuditKind
from streams.alerts.records import AcknowledgementRecord, AlertRecord, SilenceRecord, decode_alert_record
from streams.connection import client_options
from streams.reading import reading
from streams.records import UnreadableRecord, account_events
from streams.topics import ACCOUNT_EVENTS, ALERTS, AUDIT

logger = logging.getLogger(__name__)

GROUP: Final = "portfolio-auditor"

AUDIT_PARTITION: Final = TopicPartition(AUDIT.name, 0)

_OUTBOX_BATCH: Final = 500
_OUTBOX_POLL_S: Final = 0.5
_POLL_MS: Final = 500
_FETCH_BYTES_MAX: Final = 8 * 1024 * 1024
_AUTHOR: Final = b'"author"'
_DETAIL_MAX: Final = 1_000
_CLAIM_AFTER_MS: Final = 60_000


async def carry_outbox(settings: Settings, producer: AIOKafkaProducer) -> None:
    """Carry entries from the outbox to the topic, until cancelled or something is away.

    Raises:
        DatabaseError: Postgres is away or outdated.
        KafkaError: The brokers did not take an entry; it stays in the outbox.
    """
    async with connected(settings.database_dsn) as connection:
        while True:
            async with audit.taken_from_outbox(connection, _OUTBOX_BATCH) as records:
                await publish_entries(producer, records)
            if len(records) < _OUTBOX_BATCH:
                await asyncio.sleep(_OUTBOX_POLL_S)


async def carry_told(settings: Settings, producer: AIOKafkaProducer) -> None:
    """Carry what topics tell of themselves to the topic of the trail, until cancelled or something is away.

    Raises:
        KafkaError: The brokers are away; what was read and not yet carried is read again.
    """
    consumer = AIOKafkaConsumer(
        ACCOUNT_EVENTS.name,
        ALERTS.name,
        **client_options(settings),
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_bytes=_FETCH_BYTES_MAX,
        max_partition_fetch_bytes=_FETCH_BYTES_MAX,
    )
    try:
        await consumer.start()
        while True:
            batch = await consumer.getmany(timeout_ms=_POLL_MS)
            entries = [entry for records in batch.values() for record in records for entry in _entries(record)]
            await publish_entries(producer, [audit.encode_entry(entry) for entry in entries])
            if batch:
                await consumer.commit({partition: records[-1].offset + 1 for partition, records in batch.items()})
    finally:
        await consumer.stop()


async def carry_announced(settings: Settings, producer: AIOKafkaProducer) -> None:
    """Carry what the API announces in Redis, since it may write nowhere else, until cancelled or something is away.

    Raises:
        RedisAway: Redis is away; what was read and not yet carried is read again.
        KafkaError: The brokers are away, likewise.
        DatabaseError: Postgres is away or outdated, likewise.
    """
    consumer = f"{socket.gethostname()}-{os.getpid()}"
    reader = StreamReader(
        settings.redis_dsn, [ANNOUNCED], group=GROUP, consumer=consumer, claim_after_ms=_CLAIM_AFTER_MS
    )
    try:
        while True:
            entries = await reader.read()
            await publish_entries(producer, [entry.fields[b"record"] for entry in entries if b"record" in entry.fields])
            for entry in entries:
                await _note_announced_settings(settings, entry.fields)
            await reader.acknowledge(entries)
    finally:
        await reader.close()


async def _note_announced_settings(settings: Settings, fields: Mapping[bytes, bytes]) -> None:
    """Put into the outbox what changed in the settings of a part that may not write there itself."""
    if b"part" not in fields:
        return
    try:
        told = msgspec.json.decode(fields.get(b"settings", b""), type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        logger.warning("settings that were announced cannot be read and are left out")
        return
    await note_configuration(settings.database_dsn, fields[b"part"].decode(errors="replace"), told)


async def keep_chain(settings: Settings) -> None:
    """Chain the entries of the topic in Postgres, until cancelled or something is away. Any number may do so at once.

    Raises:
        DatabaseError: Postgres is away or outdated.
        KafkaError: The brokers are away.
        ChainBroken: The topic is not the continuation of what Postgres has.
    """
    async with reading(settings, [AUDIT_PARTITION]) as consumer, connected(settings.database_dsn) as connection:
        place = await audit.head(connection)
        await _require_continuation(consumer, place)
        consumer.seek(AUDIT_PARTITION, place.offset + 1)
        while True:
            batch = await consumer.getmany(AUDIT_PARTITION, timeout_ms=_POLL_MS)
            records = [(record.offset, record.value or b"") for record in batch.get(AUDIT_PARTITION, ())]
            if records:
                place = await audit.append(connection, records)
                logger.debug("the audit trail is at %s", place)


async def publish_entries(producer: AIOKafkaProducer, records: Sequence[bytes]) -> None:
    """Publish encoded entries, and return once the brokers have them.

    Raises:
        KafkaError: One was not taken; some may be there.
    """
    pending = [await producer.send(AUDIT.name, record, partition=0) for record in records]
    for result in await asyncio.gather(*pending, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _entries(record: ConsumerRecord) -> Iterable[AuditEntry]:
    return changes_of_alerts(record) if record.topic == ALERTS.name else corrections(record)


def changes_of_alerts(record: ConsumerRecord) -> Iterable[AuditEntry]:
    """The entry for a record of `portfolio.alerts`, unless it only repeats or carries on another one."""
    try:
        told = decode_alert_record(record.value)
    except UnreadableRecord:
        return
    where = f"{record.topic}:{record.partition}:{record.offset}"
    match told:
        case AlertRecord(alert=alert) if alert.changed_time_us == alert.raised_time_us or not alert.is_open:
            details = {"rule": alert.rule, "severity": alert.severity.value, "text": alert.text[:_DETAIL_MAX]}
            yield AuditEntry(
                id=where,
                time_us=alert.changed_time_us,
                kind=AuditKind.ALERT,
                action=alert.status.value,
                actor="alerts",
                account=alert.account,
                subject=alert.id,
                details=details,
            )
        case AcknowledgementRecord():
            yield AuditEntry(
                id=where,
                time_us=told.time_us,
                kind=AuditKind.ALERT,
                action="acknowledged",
                actor=told.by,
                subject=told.alert_id,
            )
        case SilenceRecord(silence=silence):
            details = {"rule": silence.rule, "reason": silence.reason, "until_us": str(silence.until_us)}
            yield AuditEntry(
                id=where,
                time_us=silence.time_us,
                kind=AuditKind.ALERT,
                action="silenced",
                actor=silence.by,
                account=silence.account,
                subject=silence.id,
                details=details,
            )
        case _:
            pass


def corrections(record: ConsumerRecord) -> Iterable[AuditEntry]:
    """The entries for the events of a record of the log that somebody, not the exchange, is the author of."""
    value = record.value
    # Nearly every record is what an exchange reported; to decode those would cost as much as to book them.
    if value is None or _AUTHOR not in value:
        return
    try:
        page = account_events.decode(value)
    except UnreadableRecord:
        return
    where = f"{record.topic}:{record.partition}:{record.offset}"
    for number, event in enumerate(page.events):
        author = getattr(event, "author", None)
        if not author:
            continue
        fields = {name: told for name, told in _told(event).items() if name not in {"type", "author", "time_us"}}
        yield AuditEntry(
            id=f"{where}:{number}",
            time_us=event.time_us,
            kind=AuditKind.CORRECTION,
            action=str(type(event).__struct_config__.tag),
            actor=author,
            account=page.account,
            subject=fields.get("flow_id") or fields.get("asset") or fields.get("symbol", ""),
            details=fields | {"log": where, "record_sha256": hashlib.sha256(value).hexdigest()},
        )


def _told(event: msgspec.Struct) -> dict[str, str]:
    plain = msgspec.to_builtins(event, str_keys=True)
    return {
        name: (value if isinstance(value, str) else msgspec.json.encode(value).decode())[:_DETAIL_MAX]
        for name, value in plain.items()
    }


async def _require_continuation(consumer: AIOKafkaConsumer, place: Place) -> None:
    beginning = (await consumer.beginning_offsets([AUDIT_PARTITION]))[AUDIT_PARTITION]
    end = (await consumer.end_offsets([AUDIT_PARTITION]))[AUDIT_PARTITION]
    if not beginning <= place.offset + 1 <= end:
        raise ChainBroken(
            f"Postgres has the audit trail up to offset {place.offset}, but {AUDIT.name} has offsets {beginning} to "
            f"{end - 1}"
        )
