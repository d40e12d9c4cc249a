"""A long history, made on the simulated exchange, of which nothing is lost or doubled by a kill in its middle."""

import asyncio
import logging
import signal
import time
from pathlib import Path

import httpx
import pytest
import redis.asyncio
from pydantic import SecretStr

from portfolio.events import Fill
from portfolio.reconciliation import reconcile
from streams.gateway.status import status_key
from tests.support.gateway import GatewayProcess, Trader, eventually, folded, holdings, own_exchange, read_log

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1_800)]

ORDERS, BATCH = 30_000, 1_000
KILLED_AFTER = 10_000

log = logging.getLogger(__name__)


async def make_history(url: str, account: str) -> None:
    """Small market orders, bought and sold in turns."""
    orders = [
        {"symbol": "BTCUSDT", "side": "BUY" if number % 2 == 0 else "SELL", "type": "MARKET", "quantity": "0.0004"}
        for number in range(BATCH)
    ]
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        for _ in range(ORDERS // BATCH):
            answer = await http.post("/operator/orders", json={"account": account, "orders": orders})
            assert all(order["status"] == "FILLED" for order in answer.json()), answer.text[:1_000]


async def test_a_long_history_is_brought_over_once_through_a_kill_in_its_middle(
    kafka_brokers: str, redis_url: str, tmp_path: Path
) -> None:
    options = {"redis_url": SecretStr(redis_url), "data_dir": tmp_path / "data", "balance_sync_interval_s": 30.0}
    async with own_exchange(kafka_brokers, **options) as settings:
        await make_history(settings.binance_rest_url, settings.account)
        trader = Trader.on_own_exchange(settings)
        gateway = GatewayProcess(settings, tmp_path / "gateway.log")
        seen: dict[str, int] = {"": 0}

        async def has_read(count: int) -> bool:
            async with redis.asyncio.from_url(settings.redis_dsn, decode_responses=True) as client:
                told = await client.hgetall(status_key(settings.account))
            phase = str(told.get("backfill_phase", ""))
            seen[phase] = max(seen.get(phase, 0), int(told.get("backfill_events", 0)))
            return seen.get("reading", 0) >= count or (count == ORDERS and told.get("state") == "live")

        try:
            await gateway.start()
            await eventually(lambda: has_read(KILLED_AFTER), timeout_s=600, what=lambda: gateway.output)
            await gateway.stop(signal.SIGKILL)
            kept = seen.pop("reading")
            async with redis.asyncio.from_url(settings.redis_dsn) as client:
                await client.delete(status_key(settings.account))

            started_s = time.monotonic()
            await gateway.start()
            await eventually(lambda: has_read(ORDERS), timeout_s=900, what=lambda: gateway.output)
            took_s = time.monotonic() - started_s
            trades = (await trader.books())["trades"]
            log.info("%d of %d trades read, all published: %.0f s", len(trades) - kept, len(trades), took_s)
            assert seen["reading"] <= len(trades) - kept, "what was read before the kill was read again"
            published = [
                event.trade_id
                for record in await read_log(settings)
                for event in record.events
                if isinstance(event, Fill)
            ]
            assert published == [trade["id"] for trade in trades]
            book, outcomes = await asyncio.wait_for(folded(settings), 300)
            assert holdings(book) == await trader.totals()
            assert not reconcile(book)
            assert not [outcome for outcome in outcomes if outcome.conflicts or outcome.duplicates]
            async with httpx.AsyncClient(base_url=settings.binance_rest_url) as http:
                weights = (await http.get("/operator/limits")).json()["api"]["127.0.0.1"]
            log.info("weight of a minute: %s of %s", weights["most_used"], weights["limit"])
            assert weights["refused"] == {}
            assert weights["most_used"] <= weights["limit"]
        finally:
            await gateway.stop(signal.SIGKILL)
            await trader.close()
