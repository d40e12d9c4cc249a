"""`portfolio.executions` to Postgres, where executions meet the exchange's fills."""

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from infra.backoff import backoff_s
from infra.postgres.errors import DatabaseError
from infra.postgres.executions import Announced, ExecutionStore
from infra.settings import Settings
from streams.connection import client_options
from streams.executions.records import execution_records
from streams.records import UnreadableRecord
from streams.topics import EXECUTIONS

log = logging.getLogger(__name__)

GROUP: Final = "portfolio-executions-sink"
_RECORDS_MAX: Final = 500
_POLL_MS: Final = 500
_BACKOFF_FIRST_S: Final = 0.25
_BACKOFF_MAX_S: Final = 10.0


async def run_sink(settings: Settings, store: ExecutionStore) -> None:
    """Carry executions to Postgres until cancelled; each is stored before its offset is committed."""
    attempt = 0
    while True:
        consumer = AIOKafkaConsumer(
            EXECUTIONS.name,
            **client_options(settings),
            group_id=GROUP,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=_RECORDS_MAX,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
        )
        try:
            await consumer.start()
            while True:
                batch = await consumer.getmany(timeout_ms=_POLL_MS)
                records = [record for each in batch.values() for record in each]
                if records:
                    await store.write(announced(records))
                    await consumer.commit({tp: each[-1].offset + 1 for tp, each in batch.items() if each})
                    attempt = 0
        except (DatabaseError, KafkaError, OSError) as error:
            wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
            log.warning("executions are not stored (%s); next attempt in %.1f s", error, wait_s)
            attempt += 1
            await asyncio.sleep(wait_s)
        finally:
            await consumer.stop()


def announced(records: Iterable[ConsumerRecord]) -> list[Announced]:
    """The rows of records; a stranger's record, which cannot be read, is left out."""
    rows = []
    now_us = time.time_ns() // 1_000
    for record in records:
        try:
            execution = execution_records.decode(record.value)
        except UnreadableRecord as error:
            log.error("%s[%d]@%d is left out: %s", record.topic, record.partition, record.offset, error)  # noqa: TRY400
            continue
        rows.append(
            Announced(
                account=execution.account,
                identity=execution.identity,
                symbol=execution.symbol,
                side=execution.side.value,
                price=execution.price,
                quantity=execution.quantity,
                fee=execution.fee,
                fee_asset=execution.fee_asset,
                trade_id=execution.trade_id,
                order_id=execution.order_id,
                client_order_id=execution.client_order_id,
                strategy=execution.strategy,
                cycle_id=execution.cycle_id,
                event_time_us=execution.event_time_us,
                source=execution.source,
                log_offset=record.offset,
                arrived_time_us=now_us,
            )
        )
    return rows
