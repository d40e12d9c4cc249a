"""The watch over the alerts as a process. Any number may run; one watches, the others wait to take its place.

Who watches has the one partition of `portfolio.alert-state`, by Kafka's own assignment. It reads there what the one
before knew, and on `portfolio.alerts` which alerts are open, so an alert is raised once, whoever raises it. Nothing of
the pipeline waits for it, and it waits for nothing but Kafka: targets, Postgres, Redis and the exchange may be away.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from infra.alert_file import AlertConfig, load_alert_config
from infra.backoff import backoff_s
from infra.cancellation import end as end_tasks
from infra.errors import RemediableError
from infra.settings import Settings
from infra.telemetry.sharing import share_metrics
from streams.alerts.watch import OBSERVED
from streams.alerts.watcher import STATE_PARTITION, Watcher
from streams.connection import client_options
from streams.creation import ensure_topics
from streams.topics import ALERT_STATE, ALERTS

log = logging.getLogger(__name__)

GROUP: Final = "portfolio-alerts"

_BACKOFF_FIRST_S: Final = 0.5
_BACKOFF_MAX_S: Final = 15.0
_CALM_S: Final = 60.0


async def run_alerts(settings: Settings) -> None:
    """Watch whenever no other process does, until cancelled.

    Raises:
        RemediableError: At the start, what the file says of rules and targets is wrong, or a topic is.
    """
    config = load_alert_config(settings)
    await ensure_topics(settings, on_wait=log.warning, specs=(*OBSERVED, ALERTS, ALERT_STATE))
    sharing = asyncio.create_task(share_metrics(settings.redis_dsn, "alerts"))
    try:
        await _watch_persistently(settings, config)
    finally:
        await end_tasks([sharing])


async def _watch_persistently(settings: Settings, config: AlertConfig) -> None:
    attempt = 0
    while True:
        started = time.monotonic()
        try:
            await _take_turns(settings, config)
        except (KafkaError, OSError) as error:
            attempt = 0 if time.monotonic() - started > _CALM_S else attempt + 1
            wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
            log.warning("nobody watches here (%r); again in %.1f s", error, wait_s)
            await asyncio.sleep(wait_s)


async def _take_turns(settings: Settings, config: AlertConfig) -> None:
    """Be one of those who would watch, and watch while it is one's turn."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        session_timeout_ms=10_000,
        heartbeat_interval_ms=3_000,
    )
    turn = _Turn(settings, config)
    consumer.subscribe([ALERT_STATE.name], listener=turn)
    try:
        await consumer.start()
        while True:
            # What is read here is what was kept a moment ago; reading is what keeps the turn.
            await consumer.getmany(timeout_ms=1_000)
            turn.raise_error()
    finally:
        try:
            await turn.end()
        finally:
            await consumer.stop()


# aiokafka is not typed
class _Turn(ConsumerRebalanceListener):  # type: ignore[misc]
    """Starts to watch when the partition comes, and stops before it goes."""

    def __init__(self, settings: Settings, config: AlertConfig) -> None:
        self._settings = settings
        self._config = config
        self._watching: asyncio.Task[None] | None = None
        self._is_over = False

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's signature
        """Stop, before another process may begin."""
        await self._stop_watching()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin, if the partition came here."""
        if self._is_over:
            return
        if STATE_PARTITION in assigned:
            log.info("watching")
            # The file may have changed while another process watched; what is wrong with it is told by the watch.
            with contextlib.suppress(RemediableError):
                self._config = load_alert_config(self._settings)
            self._watching = asyncio.create_task(Watcher(self._settings, self._config).run())
        else:
            log.info("another process watches; this one waits")

    def raise_error(self) -> None:
        """Raise what ended the watch, if something has."""
        if self._watching is not None and self._watching.done():
            self._watching.result()

    async def end(self) -> None:
        """Stop watching for good, whatever is assigned yet."""
        self._is_over = True
        await self._stop_watching()

    async def _stop_watching(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            await end_tasks([watching])
