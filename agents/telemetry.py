"""A worker's metrics: measured, and shared with whoever is scraped. Nothing of the pipeline waits for it."""

import logging
import time

from aiokafka.errors import KafkaError
from mode import Service

from agents.valuation import valuer
from infra.settings import load_settings
from infra.telemetry.metrics import LEDGER_ACCOUNTS, LEDGER_DIFFERING, VALUATION_MARKS_AGE
from infra.telemetry.sharing import INTERVAL_S, share_metrics
from infra.telemetry.traces import configure_tracing
from portfolio.reconciliation import reconcile
from streams import topics
from streams.app import app, book_view
from streams.fence import committed_offset
from streams.reading import reading
from streams.telemetry import measure_lags

logger = logging.getLogger(__name__)


@app.service
class Telemetry(Service):
    """Measures what is not counted where it happens, and shares all of it."""

    async def on_start(self) -> None:
        """Begin to send traces, where a collector is set."""
        configure_tracing(load_settings(), "worker")

    @Service.task
    async def _share(self) -> None:
        await share_metrics(load_settings().redis_dsn, "worker", _measure_books)

    @Service.task
    async def _measure_lags(self) -> None:
        while not self.should_stop:
            try:
                async with reading(load_settings()) as consumer:
                    while not self.should_stop:
                        await measure_lags(consumer, _own_partitions())
                        await self.sleep(INTERVAL_S)
            except (KafkaError, OSError) as error:
                logger.debug("the lag cannot be measured now: %s", error)
                await self.sleep(INTERVAL_S)


def _measure_books() -> None:
    """What the books of this worker's partitions say."""
    LEDGER_DIFFERING.clear()
    accounts = 0
    for partition in _own_partitions():
        for account, book in book_view.of_partition(partition).items():
            accounts += 1
            LEDGER_DIFFERING.labels(account).set(len(reconcile(book)))
    LEDGER_ACCOUNTS.set(accounts)
    _, newest_us = valuer.newest("")
    if newest_us:
        VALUATION_MARKS_AGE.set(max(0.0, time.time() - newest_us / 1_000_000))


def _own_partitions() -> dict[int, int]:
    """The partitions of the log that this worker has, each with where the group went on with it.

    None while they come and go.
    """
    if app.rebalancing or not app.flow_control.is_active():
        return {}
    return {
        tp.partition: committed_offset(app, tp) or 0
        for tp in app.assignor.assigned_actives()
        if tp.topic == topics.ACCOUNT_EVENTS.name
    }
