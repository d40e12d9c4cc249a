"""What a person does with alerts: look at them, acknowledge them, silence them. Through Kafka alone."""

from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from infra.errors import RemediableError
from infra.settings import Settings
from portfolio.alerts.engine import Alert, AlertKey, Silence
from streams.alerts.records import (
    AcknowledgementRecord,
    AlertRecord,
    AlertTopicRecord,
    SilenceRecord,
    alert_output,
    decode_alert_record,
)
from streams.connection import client_options, needing_kafka
from streams.creation import ensure_topics
from streams.reading import partitions_of, reading, until_now
from streams.records import UnreadableRecord
from streams.topics import ALERTS

_TIMEOUT_S = 10.0


class Known(NamedTuple):
    """What the topic has: of each alert the last state, newest first, and the silences."""

    alerts: list[Alert]
    silences: list[Silence]


async def known_alerts(settings: Settings) -> Known:
    """Read the alerts and silences that there are.

    Raises:
        RemediableError: Kafka does not answer.
    """
    alerts: dict[AlertKey, Alert] = {}
    silences: dict[str, Silence] = {}
    with needing_kafka(settings):
        await ensure_topics(settings, on_wait=lambda _line: None, timeout_s=_TIMEOUT_S, specs=[ALERTS])
        async with reading(settings, partitions_of([ALERTS], settings)) as consumer:
            async for record in until_now(consumer):
                try:
                    told = decode_alert_record(record.value)
                except UnreadableRecord:
                    continue
                if isinstance(told, AlertRecord):
                    alerts[told.alert.key] = told.alert
                elif isinstance(told, SilenceRecord):
                    silences[told.silence.id] = told.silence
    newest_first = sorted(alerts.values(), key=lambda alert: alert.raised_time_us, reverse=True)
    return Known(newest_first, list(silences.values()))


async def acknowledge(settings: Settings, wanted: str, by: str, time_us: int) -> Alert:
    """Say that somebody takes care of an alert.

    Args:
        settings: How to reach the brokers.
        wanted: Id of the alert.
        by: Who.
        time_us: When.

    Raises:
        RemediableError: No such alert is open, or Kafka does not answer.
    """
    for alert in (await known_alerts(settings)).alerts:
        if alert.id == wanted and alert.is_open:
            await _publish(settings, AcknowledgementRecord(alert_id=wanted, by=by, time_us=time_us))
            return alert
    raise RemediableError(f"no alert {wanted} is open", "`portfolio alerts list` shows those that are")


async def publish_silence(settings: Settings, silence: Silence) -> None:
    """Have a silence begin, or end, if its end is now.

    Raises:
        RemediableError: Kafka does not answer.
    """
    await ensure_topics(settings, on_wait=lambda _line: None, timeout_s=_TIMEOUT_S, specs=[ALERTS])
    await _publish(settings, SilenceRecord(silence=silence))


async def _publish(settings: Settings, record: AlertTopicRecord) -> None:
    output = alert_output(record, settings.partitions)
    producer = AIOKafkaProducer(**client_options(settings), enable_idempotence=True, acks="all")
    try:
        with needing_kafka(settings):
            await producer.start()
            await producer.send_and_wait(output.topic, output.value, key=output.key, partition=output.partition)
    finally:
        await producer.stop()
