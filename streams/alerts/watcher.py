"""One turn of watching: from what the one before kept, through what happened since, to what happens now."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from infra.alert_file import AlertConfig, load_alert_config
from infra.backoff import backoff_s
from infra.cancellation import run_together
from infra.errors import RemediableError
from infra.postgres.configuration import note_configuration
from infra.postgres.errors import DatabaseError
from infra.settings import Settings
from infra.telemetry.metrics import ALERTS_OPEN, ALERTS_WATCHING
from portfolio.alerts.engine import Alert
from portfolio.alerts.rules import Severity
from streams.alerts.copy import AlertCopy
from streams.alerts.delivery import Told
from streams.alerts.records import (
    PROGRESS_KEY,
    AcknowledgementRecord,
    AlertRecord,
    SilenceRecord,
    alert_output,
    decode_alert_record,
    decode_progress,
    decode_view,
    progress_output,
    target_key,
    view_output,
)
from streams.alerts.sources import follow_gateways, follow_prices
from streams.alerts.telling import Telling
from streams.alerts.watch import OBSERVED, Watch, place
from streams.gateway.log import open_producer
from streams.publishing import Output
from streams.reading import partitions_of, reading, until_now
from streams.records import UnreadableRecord
from streams.topics import ALERT_STATE, ALERTS

log = logging.getLogger(__name__)

STATE_PARTITION: Final = TopicPartition(ALERT_STATE.name, 0)
"""Whoever is assigned it watches."""

_POLL_MS: Final = 250
_RECORDS_MAX: Final = 2_000
_EVALUATION_INTERVAL_S: Final = 0.5
_KEEP_INTERVAL_S: Final = 15.0
_FILE_INTERVAL_S: Final = 1.0
_NOTE_INTERVAL_S: Final = 30.0
_BACKOFF_FIRST_S: Final = 0.5
_BACKOFF_MAX_S: Final = 10.0


class Watcher:
    """One turn of watching."""

    def __init__(self, settings: Settings, config: AlertConfig) -> None:
        """Prepare.

        Args:
            settings: Where everything is.
            config: Rules and targets; the file is read again while it runs.
        """
        self._settings = settings
        self._config = config
        self._watch = Watch(config.rules)
        self._copy = AlertCopy(settings)
        self._telling = Telling(self._keep_told)
        self._progress: dict[str, int] = {}
        self._producer: AIOKafkaProducer | None = None

    async def run(self) -> None:
        """Read what is known, catch up, and watch until cancelled.

        Raises:
            KafkaError: The brokers do not do what is needed.
        """
        settings, watch = self._settings, self._watch
        async with reading(settings) as alerts, reading(settings) as observed, open_producer(settings) as producer:
            self._producer = producer
            await self._restore_state()
            acknowledged = await self._restore_alerts(alerts)
            await self._catch_up(observed)
            log.info("watching %d accounts, %d alerts are open", len(watch.accounts), len(watch.engine.open_alerts))
            await self._publish_alerts(acknowledged)
            try:
                self._telling.use(self._config.targets)
                await run_together(
                    self._observe(observed),
                    self._follow_alerts(alerts),
                    self._follow_file(),
                    self._note_file(),
                    self._copy.run(),
                    follow_gateways(settings, watch),
                    follow_prices(settings, watch),
                )
            finally:
                ALERTS_WATCHING.set(0)
                ALERTS_OPEN.clear()
                try:
                    await self._telling.close()
                finally:
                    await self._copy.close()

    async def _restore_state(self) -> None:
        async with reading(self._settings, [STATE_PARTITION]) as state:
            async for record in until_now(state):
                key, value = record.key or b"", record.value or b""
                if key == PROGRESS_KEY:
                    self._progress = decode_progress(value)
                elif key.startswith(target_key("")):
                    name = key.removeprefix(target_key("")).decode(errors="replace")
                    self._telling.restore(name, decode_progress(value))
                elif (watched := decode_view(value)) is not None:
                    self._watch.restore(watched)

    async def _restore_alerts(self, alerts: AIOKafkaConsumer) -> list[Alert]:
        """Read what was published; returns alerts whose acknowledgement had not been noted."""
        alerts.assign(partitions_of([ALERTS], self._settings))
        acknowledgements: list[AcknowledgementRecord] = []
        async for record in until_now(alerts):
            match told := self._taken_in(record, is_news=False):
                case AlertRecord():
                    self._watch.engine.restore(told.alert)
                case AcknowledgementRecord():
                    acknowledgements.append(told)
                case _:
                    pass
        # Not before: an alert and its acknowledgement are in different partitions.
        engine = self._watch.engine
        return [alert for one in acknowledgements for alert in engine.acknowledge(one.alert_id, one.by, one.time_us)]

    async def _catch_up(self, observed: AIOKafkaConsumer) -> None:
        """See what happened while nobody watched; nothing is raised for what is over by now."""
        partitions = partitions_of(OBSERVED, self._settings)
        observed.assign(partitions)
        beginnings = await observed.beginning_offsets(partitions)
        for partition in partitions:
            known = self._progress.get(place(partition), 0)
            observed.seek(partition, max(known, beginnings[partition]))
        async for record in until_now(observed):
            self._observe_record(record)

    def _observe_record(self, record: ConsumerRecord) -> None:
        self._watch.observe(record)
        self._progress[f"{record.topic}:{record.partition}"] = record.offset + 1

    def _taken_in(
        self, record: ConsumerRecord, *, is_news: bool
    ) -> AlertRecord | AcknowledgementRecord | SilenceRecord | None:
        """Hand a record of `portfolio.alerts` on to targets, Postgres and the engine's silences."""
        try:
            told = decode_alert_record(record.value)
        except UnreadableRecord as error:
            log.warning("%s[%d]@%d is left out: %s", record.topic, record.partition, record.offset, error)
            return None
        match told:
            case AlertRecord(alert=alert):
                self._copy.put(alert, is_news=is_news)
                self._telling.put(Told(f"{record.topic}:{record.partition}", record.offset, alert))
            case SilenceRecord(silence=silence):
                self._copy.put(silence, is_news=is_news)
                self._watch.engine.silence(silence)
            case AcknowledgementRecord():
                pass
        return told

    def _measure(self) -> None:
        ALERTS_WATCHING.set(1)
        raised = Counter(alert.severity for alert in self._watch.engine.open_alerts)
        for severity in Severity:
            ALERTS_OPEN.labels(severity.value).set(raised[severity])

    async def _observe(self, observed: AIOKafkaConsumer) -> None:
        evaluated = kept = time.monotonic()
        while True:
            batch = await observed.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_MAX)
            for records in batch.values():
                for record in records:
                    self._observe_record(record)
            self._telling.raise_error()
            now = time.monotonic()
            if now - evaluated >= _EVALUATION_INTERVAL_S:
                evaluated = now
                await self._publish_alerts(self._watch.evaluate(time.time_ns() // 1_000))
                self._measure()
            if now - kept >= _KEEP_INTERVAL_S:
                kept = now
                await self._keep()

    async def _keep(self) -> None:
        # The views first: after a crash between the two, what is read again is what they have seen.
        await self._publish([view_output(watched) for watched in self._watch.changed_views()])
        await self._publish([progress_output(PROGRESS_KEY, dict(self._progress))])

    async def _keep_told(self, name: str, next_offsets: dict[str, int]) -> None:
        await self._publish([progress_output(target_key(name), next_offsets)])

    async def _follow_alerts(self, alerts: AIOKafkaConsumer) -> None:
        """Hand on what is published, here and by the command line."""
        while True:
            for records in (await alerts.getmany(timeout_ms=_POLL_MS)).values():
                for record in records:
                    told = self._taken_in(record, is_news=True)
                    if isinstance(told, AcknowledgementRecord):
                        changed = self._watch.engine.acknowledge(told.alert_id, told.by, told.time_us)
                        await self._publish_alerts(changed)

    async def _follow_file(self) -> None:
        """Use what the file says, as soon as it says something else; what is wrong is not used."""
        told = ""
        while True:
            await asyncio.sleep(_FILE_INTERVAL_S)
            try:
                config = await asyncio.to_thread(load_alert_config, self._settings)
            except RemediableError as error:
                if str(error) != told:
                    log.error("the alerts go on as they were: %s", error)  # noqa: TRY400 - a person's mistake
                told = str(error)
                continue
            told = ""
            if config != self._config:
                log.info("rules or targets have changed: %d rules, %d targets", len(config.rules), len(config.targets))
                self._config = config
                self._watch.engine.use_rules(config.rules)
                self._telling.use(config.targets)

    async def _note_file(self) -> None:
        """Put changes of rules and targets into the audit trail, as soon as the database is there."""
        noted: AlertConfig | None = None
        while True:
            wait_s, config = _FILE_INTERVAL_S, self._config
            if config != noted:
                try:
                    await note_configuration(self._settings.database_dsn, "alerts", config.described())
                    noted = config
                except DatabaseError as error:
                    log.debug("the rules are not in the audit trail yet: %s", error)
                    wait_s = _NOTE_INTERVAL_S
            await asyncio.sleep(wait_s)

    async def _publish_alerts(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            log.info("%s %s (%s %s): %s", alert.status, alert.id, alert.rule, alert.account, alert.text)
        await self._publish([alert_output(AlertRecord(alert=alert), self._settings.partitions) for alert in alerts])

    async def _publish(self, outputs: Sequence[Output]) -> None:
        """Publish, and return once the brokers have all of it; tried again, some of it may be there twice."""
        if self._producer is None or not outputs:
            return
        attempt = 0
        while True:
            try:
                pending = [
                    await self._producer.send(each.topic, each.value, key=each.key, partition=each.partition)
                    for each in outputs
                ]
                for result in await asyncio.gather(*pending, return_exceptions=True):
                    if isinstance(result, BaseException):
                        raise result
            except KafkaError as error:
                wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
                log.warning("cannot publish to %s (%r); again in %.1f s", outputs[0].topic, error, wait_s)
                attempt += 1
                await asyncio.sleep(wait_s)
            else:
                return
