"""Whatever moves a balance and is no trade ends in the ledger with its kind, seen live or missed meanwhile."""

import signal
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio
from pydantic import SecretStr

from infra.settings import Settings
from portfolio.book import Book
from portfolio.events import Flow, FlowKind, Reclassification
from portfolio.reconciliation import reconcile
from streams.gateway.status import status_key
from tests.support.gateway import GatewayProcess, Trader, eventually, folded, holdings, own_exchange, read_log

pytestmark = pytest.mark.integration


class Operator:
    """Lets things happen to one account of the exchange."""

    def __init__(self, url: str, account: str) -> None:
        self._account = account
        self._http = httpx.AsyncClient(base_url=url, timeout=10)

    async def close(self) -> None:
        await self._http.aclose()

    async def do(self, name: str, **fields: object) -> dict[str, Any]:
        return await self._post(name, {"account": self._account, **fields})

    async def set_status(self, operation: dict[str, Any], status: str) -> None:
        await self._post("status", {"id": operation["id"], "status": status})

    async def _post(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await self._http.post(f"/operator/{name}", json=body)
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json()
        return answer


@pytest.fixture
async def settings(kafka_brokers: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Settings]:
    options = {"redis_url": SecretStr(redis_url), "data_dir": tmp_path / "data"}
    async with own_exchange(kafka_brokers, **options) as settings:
        yield settings


@pytest.fixture
async def trader(settings: Settings) -> AsyncIterator[Trader]:
    trader = Trader.on_own_exchange(settings)
    yield trader
    await trader.close()


@pytest.fixture
async def operator(settings: Settings) -> AsyncIterator[Operator]:
    operator = Operator(settings.binance_rest_url, settings.account)
    yield operator
    await operator.close()


@pytest.fixture
async def gateway(settings: Settings, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    process = GatewayProcess(settings, tmp_path / "gateway.log")
    yield process
    await process.stop(signal.SIGKILL)


async def everything(operator: Operator, trader: Trader) -> None:
    """One of each operation that moves balances, some of them alike, and trades in between."""
    await operator.do("deposit", asset="USDT", amount="500")
    await operator.do("deposit", asset="USDT", amount="500")
    await operator.do("airdrop", asset="USDT", amount="500")
    await operator.do("withdraw", asset="BTC", amount="0.002", fee="0.0001")
    returned = await operator.do("withdraw", asset="USDT", amount="70", fee="1", status="applied")
    await trader.market_order("BTCUSDT", "BUY", "0.001")
    await operator.set_status(returned, "rejected")
    await operator.do("transfer", asset="USDT", amount="11", type="MAIN_FUNDING")
    await operator.do("transfer", asset="USDT", amount="7", type="UMFUTURE_MAIN")
    await operator.do("convert", asset="USDT", amount="100", to_asset="ETH")
    await trader.market_order("ETHUSDT", "SELL", "0.01")
    await operator.do("dust", assets=["ETH"])
    for product in ("flexible", "locked"):
        await operator.do("earn/subscribe", asset="USDT", amount="40", product=product)
        await operator.do("earn/redeem", asset="USDT", amount="15", product=product)
        await operator.do("earn/reward", asset="USDT", amount="0.25", product=product)
    await operator.do("rebate", asset="USDT", amount="0.125")


def kinds_in(book: Book) -> Counter[tuple[str, Decimal, str]]:
    return Counter(
        (flow.asset, flow.quantity, str(flow.kind)) for flow in book.flows.values() if flow.kind is not FlowKind.OPENING
    )


async def kinds_at(trader: Trader) -> Counter[tuple[str, Decimal, str]]:
    flows = (await trader.books())["flows"]
    return Counter((row["asset"], Decimal(row["amount"]), row["kind"]) for row in flows if row["kind"] != "initial")


async def status(settings: Settings) -> dict[str, str]:
    async with redis.asyncio.from_url(settings.redis_dsn, decode_responses=True) as client:
        fields = await client.hgetall(status_key(settings.account))
    return {str(name): str(value) for name, value in fields.items()}


async def agree(settings: Settings, trader: Trader, gateway: GatewayProcess) -> Book:
    """Wait until the folded log has every flow with its kind, every trade, and no difference."""
    found: list[Book] = []

    async def check() -> bool:
        told = await status(settings)
        if told.get("state") != "live" or told.get("unclassified_flows") != "0":
            return False
        book, _ = await folded(settings)
        found.append(book)
        trades = sum(totals.fills for totals in book.symbols.values())
        return (
            trades == len((await trader.books())["trades"])
            and holdings(book) == await trader.totals()
            and kinds_in(book) == await kinds_at(trader)
        )

    def difference() -> str:
        return f"{kinds_in(found[-1]) if found else ''}\n{gateway.output[-3_000:]}"

    await eventually(check, timeout_s=90, what=difference)
    assert not reconcile(found[-1])
    return found[-1]


async def test_every_flow_ends_with_its_kind_seen_live_or_missed(
    settings: Settings, trader: Trader, operator: Operator, gateway: GatewayProcess
) -> None:
    pending = await operator.do("deposit", asset="ETH", amount="0.5", status="pending")
    applied = await operator.do("withdraw", asset="USDT", amount="90", fee="2", status="processing")
    await gateway.start()
    await agree(settings, trader, gateway)

    await everything(operator, trader)
    await operator.set_status(pending, "completed")
    book = await agree(settings, trader, gateway)
    # What was seen live is booked at once without a kind, and told it by an event of its own.
    events = [event for record in await read_log(settings) for event in record.events]
    live = [event for event in events if isinstance(event, Flow) and event.id.startswith("balance-update:")]
    told = {event.flow_id: event.id for event in events if isinstance(event, Reclassification)}
    assert live
    assert {flow.kind for flow in live} == {FlowKind.UNCLASSIFIED}
    assert {flow.id for flow in live} == told.keys()
    assert len(set(told.values())) == len(told)

    await gateway.stop(signal.SIGKILL)
    known = set(book.flows)
    late = await operator.do("deposit", asset="BNB", amount="0.125", status="pending")
    await everything(operator, trader)
    await operator.set_status(applied, "rejected")
    await operator.set_status(late, "completed")
    missed = (await trader.books())["flows"][-40:]
    await gateway.start()
    book = await agree(settings, trader, gateway)
    # What was missed is booked with its kind, at its time, at the price of that time.
    new = {name: flow for name, flow in book.flows.items() if name not in known}
    assert not [name for name in new if name.startswith(("balance-update:", "difference:"))]
    times = {(row["asset"], Decimal(row["amount"]), row["kind"]): row["time_us"] for row in missed}
    for flow in new.values():
        assert abs(flow.time_us - times[flow.asset, flow.quantity, str(flow.kind)]) < 10_000_000
    income = [flow for flow in new.values() if flow.kind.is_income]
    assert sum(flow.value for flow in income) == Decimal(500) + 2 * Decimal("0.25") + Decimal("0.125")

    # Nothing is told twice, however often it starts.
    before = sum(len(record.events) for record in await read_log(settings))
    await gateway.stop(signal.SIGKILL)
    restarted_us = int((await status(settings))["heartbeat_time_us"])
    await gateway.start()
    await operator.do("airdrop", asset="BTC", amount="0.5")

    async def is_back() -> bool:
        return int((await status(settings))["last_sync_time_us"]) > restarted_us

    await eventually(is_back, timeout_s=60, what=lambda: gateway.output)
    await agree(settings, trader, gateway)
    later = [event for record in await read_log(settings) for event in record.events][before:]
    assert {event.asset for event in later if isinstance(event, Flow)} == {"BTC"}
    assert len([event for event in later if isinstance(event, Reclassification)]) <= 1
