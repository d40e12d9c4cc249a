"""`portfolio up` with a portfolio.toml: several accounts, one of them bots', and one whose key is refused."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
import redis.asyncio

from streams.periodic import open_positions, performance_records
from streams.topics import OPEN_POSITIONS, PERFORMANCE
from tests.support.gateway import Trader, eventually
from tests.support.pipeline import PipelineProcess
from tests.support.worker import read_all

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(420)]

FILE = """
exchange = "simulated"

[accounts.main]

[accounts.hedge]
reporting = "BTC"

[accounts.locked]
api_key = "env:LOCKED"
secret_key = "env:LOCKED"

[accounts.bots]
source = "executions"
"""


@pytest.fixture
async def pipeline() -> AsyncIterator[PipelineProcess]:
    # Not tmp_path: another pytest run closes its parent directory to others, and as root Postgres is another user.
    with tempfile.TemporaryDirectory(prefix="portfolio-test-", ignore_cleanup_errors=True) as directory:
        file = Path(directory) / "portfolio.toml"
        file.write_text(FILE)
        process = PipelineProcess(Path(directory), "--no-demo")
        process.environment |= {
            "PORTFOLIO_CONFIG": str(file),
            "LOCKED": "a-key-that-nobody-knows",
            "PORTFOLIO_POSITION_INTERVAL_S": "2",
            "PORTFOLIO_PERFORMANCE_INTERVAL_S": "2",
        }
        try:
            yield process
        finally:
            await process.abandon()


async def test_every_account_is_followed_told_and_measured(pipeline: PipelineProcess) -> None:
    await pipeline.start()
    assert "data flow, but for locked" in pipeline.output.replace("\n", " ")
    told = await pipeline.get("/admin/status")
    assert {each["account"]: each["sync_status"] for each in told["accounts"]} == {
        "main": "live", "hedge": "live", "locked": "failed", "bots": "live",
    }  # fmt: skip
    assert (told["account"], told["sync_status"]) == ("locked", "failed")
    assert any("refused the API key" in problem for problem in told["problems"])
    assert (await pipeline.get("/admin/status", account="hedge"))["sync_status"] == "live"

    trader = Trader(pipeline.exchange_url, "hedge", "hedge-key", "hedge-secret")
    try:
        await trader.market_order("ETHBTC", "BUY", "0.2")
    finally:
        await trader.close()
    url = f"redis://127.0.0.1:{pipeline.environment['PORTFOLIO_REDIS_PORT']}/0"
    async with redis.asyncio.from_url(url) as bots:
        entry: dict[str | bytes | bytearray | memoryview[int] | int | float, str | int] = {
            "account": "bots", "symbol": "BTCUSDT", "side": "BUY", "price": "60000", "quantity": "0.5",
            "trade_id": 7, "event_time_us": time.time_ns() // 1_000, "strategy": "grid", "cycle_id": "c-9",
        }  # fmt: skip
        for _ in range(2):
            await bots.xadd("portfolio:executions", entry)  # type: ignore[arg-type]

    async def trades(account: str) -> int:
        return len(await pipeline.get("/portfolio/trade-history", account=account))

    async def all_booked() -> bool:
        return await trades("hedge") == 1 and await trades("bots") == 1

    await eventually(all_booked, timeout_s=60)
    (trade,) = await pipeline.get("/portfolio/trade-history", account="bots")
    assert (trade["strategy"], trade["cycle_id"], Decimal(trade["quantity"])) == ("grid", "c-9", Decimal("0.5"))

    async def positions_are_told() -> bool:
        pages = [
            open_positions.decode(each.value) for each in await read_all(pipeline.settings.brokers, OPEN_POSITIONS.name)
        ]
        newest = {page.account: page for page in pages}
        held = {name: {each.asset for each in page.positions} for name, page in newest.items()}
        return "ETH" in held.get("hedge", set()) and held.get("bots") == {"BTC"} and "main" in held

    async def performance_is_told() -> bool:
        found = await read_all(pipeline.settings.brokers, PERFORMANCE.name)
        return {performance_records.decode(each.value).account for each in found} == {"main", "hedge", "bots"}

    await asyncio.gather(eventually(positions_are_told, timeout_s=60), eventually(performance_is_told, timeout_s=60))
