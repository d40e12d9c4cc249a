"""The whole pipeline as a user starts it: real processes from the exchange's socket to the API's answer."""

import asyncio
import contextlib
import random
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway import Trader, eventually, read_log
from tests.support.monitoring import Collector, Scrape, collecting, json_lines
from tests.support.pipeline import PipelineProcess, SecondOpinion

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

ORDERS = (
    ("BTCUSDT", "0.0012", "0.03"),
    ("ETHUSDT", "0.02", "0.6"),
    ("ETHBTC", "0.01", "0.1"),
)


@pytest.fixture
async def pipeline(collector: Collector) -> AsyncIterator[PipelineProcess]:
    # Not tmp_path: another pytest run closes its parent directory to others, and as root Postgres is another user.
    with tempfile.TemporaryDirectory(prefix="portfolio-test-", ignore_cleanup_errors=True) as directory:
        process = PipelineProcess(Path(directory), "--no-demo", "--workers", "2")
        process.environment |= {"PORTFOLIO_LOG_FORMAT": "json", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        try:
            yield process
        finally:
            await process.abandon()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as listening:
        yield listening


@pytest.fixture
async def trader(pipeline: PipelineProcess) -> AsyncIterator[Trader]:
    trader = Trader(pipeline.exchange_url, "demo", "demo-key", "demo-secret")
    try:
        yield trader
    finally:
        await trader.close()


async def trade(trader: Trader, dice: random.Random, count: int) -> None:
    """Market orders of every size, mostly buys at first; an order that the balance does not allow is no trade."""
    for _ in range(count):
        symbol, least, most = dice.choice(ORDERS)
        steps = dice.randint(1, int(Decimal(most) / Decimal(least)))
        with contextlib.suppress(AssertionError):
            await trader.market_order(symbol, dice.choice(("BUY", "BUY", "SELL")), str(Decimal(least) * steps))


async def agreement(pipeline: PipelineProcess, trader: Trader) -> dict[str, Any]:
    """Wait until the API has every trade of the exchange, and hold all of it against the exchange's own books."""
    trades = (await trader.books())["trades"]

    async def has_all() -> bool:
        told = await pipeline.get("/portfolio/trade-history", limit=1000)
        return len(told) >= len(trades)

    await eventually(has_all, timeout_s=60)
    told = await pipeline.get("/portfolio/trade-history", limit=1000)
    assert sorted((t["symbol"], t["trade_id"], t["order_id"]) for t in told) == sorted(
        (t["symbol"], t["id"], t["orderId"]) for t in trades
    )

    totals = await trader.totals()

    async def balances_agree() -> bool:
        rows = await pipeline.get("/portfolio/balances")
        return {row["asset"]: Decimal(row["ledger_quantity"]) for row in rows if row["asset"] in totals} == totals

    await eventually(balances_agree, timeout_s=30)
    await eventually(lambda: _nothing_differs(pipeline), timeout_s=30)
    overview: dict[str, Any] = await pipeline.get("/portfolio/overview")
    equity, flows, pnl = (Decimal(overview[name]) for name in ("equity", "net_flows", "total_pnl"))
    assert equity == flows + pnl
    realized = SecondOpinion(await read_log(pipeline.settings)).book(trades)
    assert Decimal(overview["realized_pnl"]) == realized
    by_symbol = await pipeline.get("/portfolio/pnl-by-symbol")
    assert sum(Decimal(row["realized_pnl"]) for row in by_symbol) == realized
    return overview


async def _nothing_differs(pipeline: PipelineProcess) -> bool:
    rows = await pipeline.get("/portfolio/balances")
    return all(Decimal(row["difference"]) == 0 and row["total"] == row["ledger_quantity"] for row in rows)


async def monitored(pipeline: PipelineProcess, trader: Trader, collector: Collector) -> None:
    """What a monitoring system has of an undisturbed pipeline, in which every trade was booked."""
    trades = (await trader.books())["trades"]

    async def everything_is_told() -> bool:
        scrape = Scrape(await pipeline.text("/metrics"))
        return (
            scrape.processes() == {"gateway", "worker", "executions", "alerts", "api"}
            and len(scrape.values("portfolio_build_info", process="worker")) == 2
            and scrape.total("portfolio_ledger_fill_to_pnl_seconds_count") == len(trades)
            and scrape.total("portfolio_gateway_events_received_total", kind="fill") == len(trades)
            and len(scrape.values("portfolio_ledger_lag_records")) == pipeline.settings.partitions
            and len(scrape.values("portfolio_sink_lag_records")) == pipeline.settings.partitions
            and scrape.total("portfolio_ledger_lag_records") == scrape.total("portfolio_sink_lag_seconds") == 0
            and scrape.values("portfolio_gateway_state", account="main", state="live") == [1]
            and scrape.values("portfolio_ledger_differing_assets", account="main") == [0]
        )

    await eventually(everything_is_told, timeout_s=40)
    await eventually(lambda: is_traced(collector), timeout_s=30)
    for part in ("gateway", "worker-1", "worker-2", "api", "executions", "alerts"):
        lines = json_lines(pipeline.log_file(part))
        assert {line["process"] for line in lines} == {part.partition("-")[0]}, part


async def is_traced(collector: Collector) -> bool:
    """Whether a whole trace has arrived: each part of the way was caused by the one before."""
    for trace in collector.whole_traces(("gateway", "ledger", "sink")):
        by_name = {span.name: span for span in collector.traces()[trace]}
        gateway, ledger, sink = by_name["gateway"], by_name["ledger"], by_name["sink"]
        assert (ledger.parent_id, sink.parent_id) == (gateway.span_id, ledger.span_id)
        assert {gateway.service, ledger.service, sink.service} == {"portfolio-gateway", "portfolio-worker"}
        return True
    return False


async def readme_consumer_says(pipeline: PipelineProcess) -> str:
    """The first line that the README's consumer of `portfolio.pnl` prints."""
    [code] = re.findall(r"```python\n(import asyncio, json\n.*?)```", README, re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        "-c",
        code.replace("127.0.0.1:19092", pipeline.settings.brokers),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            return (await process.stdout.readline()).decode()
    finally:
        process.kill()
        await process.communicate()


async def test_the_api_agrees_with_the_exchange_through_stops_and_kills(
    pipeline: PipelineProcess, trader: Trader, collector: Collector
) -> None:
    """Trades, flows, a clean stop in the middle, and the death of gateway and worker: no fill lost, none twice."""
    dice = random.Random(20261123)
    await pipeline.start()
    await trade(trader, dice, 25)
    await trader.deposit("USDT", "1234.56789")
    await trader.withdraw("BTC", "0.01")
    await trade(trader, dice, 10)
    await agreement(pipeline, trader)
    await monitored(pipeline, trader, collector)

    account, *numbers, reporting = (await readme_consumer_says(pipeline)).split()
    assert (account, reporting) == ("main", "USDT")
    assert Decimal(numbers[0]) > 0
    async with httpx.AsyncClient(base_url=pipeline.api_url, timeout=10) as client:
        for path in re.findall(r"http://127\.0\.0\.1:8000(/[^'\s>]+)", README):
            if not path.startswith("/portfolio/stream"):  # it has no end; tests of its own read it
                assert (await client.get(path)).is_success, path

    storm = asyncio.create_task(trade(trader, dice, 60))
    await asyncio.sleep(1)
    pipeline.kill("gateway")
    await asyncio.sleep(2)
    pipeline.kill("streams.app")
    await storm
    await agreement(pipeline, trader)

    storm = asyncio.create_task(trade(trader, dice, 200))
    await asyncio.sleep(1)
    assert await pipeline.stop() == 0, pipeline.output
    with contextlib.suppress(httpx.HTTPError):
        await storm

    await pipeline.start()
    await trade(trader, dice, 10)
    overview = await agreement(pipeline, trader)
    assert overview["active_positions"] > 0
