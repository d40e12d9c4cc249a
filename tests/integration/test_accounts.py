"""Several accounts followed by one gateway: on a simulated exchange, a key that is refused, and bots without one."""

import secrets
import signal
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis.asyncio
from pydantic import SecretStr

from infra.exchange.app import ExchangeOptions, running_exchange
from infra.exchange.security import AccountKey
from infra.settings import Settings
from portfolio.events import Fill, FlowKind
from streams.creation import ensure_topics
from streams.executions.records import ExecutionRecord, execution_records
from streams.gateway.log import open_producer
from streams.gateway.status import status_key
from streams.records import dead_letters, marks_pages
from streams.topics import DEAD_LETTERS, EXECUTIONS, MARKS
from tests.support.gateway import GatewayProcess, Trader, eventually, folded, holdings, read_log
from tests.support.worker import read_all

pytestmark = pytest.mark.integration

NOW_US = time.time_ns() // 1_000


class World(NamedTuple):
    """An exchange, the file that names its accounts, and a gateway that follows them."""

    settings: Settings
    main: str
    hedge: str
    locked: str
    bots: str
    traders: dict[str, Trader]
    gateway: GatewayProcess

    def of(self, account: str) -> Settings:
        """The settings of a reader of one account."""
        reporting = "BTC" if account == self.hedge else "USDT"
        return self.settings.model_copy(update={"account": account, "reporting_currency": reporting})

    async def status(self, account: str) -> dict[str, str]:
        async with redis.asyncio.from_url(self.settings.redis_dsn, decode_responses=True) as client:
            return {str(name): str(value) for name, value in (await client.hgetall(status_key(account))).items()}

    async def states(self) -> list[str | None]:
        return [(await self.status(name)).get("state") for name in (self.main, self.hedge, self.locked, self.bots)]

    async def agrees(self, account: str) -> bool:
        """Whether the folded log has every trade of the exchange once, and its balances."""
        book, _ = await folded(self.of(account))
        trades = sum(totals.fills for totals in book.symbols.values())
        trader = self.traders[account]
        return trades == len((await trader.books())["trades"]) and holdings(book) == await trader.totals()


@pytest.fixture
async def world(
    kafka_brokers: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    main, hedge, locked, bots = (f"{name}-{secrets.token_hex(4)}" for name in ("main", "hedge", "locked", "bots"))
    keys = tuple(AccountKey(name, f"{name}-key", f"{name}-secret") for name in (main, hedge))
    file = tmp_path / "portfolio.toml"
    file.write_text(
        f'exchange = "simulated"\n[accounts.{main}]\n[accounts.{hedge}]\nreporting = "BTC"\n'
        f'[accounts.{locked}]\napi_key = "env:LOCKED"\nsecret_key = "env:LOCKED"\n'
        f'[accounts.{bots}]\nsource = "executions"\n'
    )
    monkeypatch.setenv("PORTFOLIO_CONFIG", str(file))
    monkeypatch.setenv("LOCKED", "a-key-that-nobody-knows")
    async with running_exchange(ExchangeOptions(accounts=keys)) as url:
        address = url.removeprefix("http://")
        settings = Settings(
            binance_rest_url=url,
            binance_ws_api_url=f"ws://{address}/ws-api/v3",
            binance_stream_url=f"ws://{address}",
            kafka_brokers=kafka_brokers,
            redis_url=SecretStr(redis_url),
            balance_sync_interval_s=1.0,
            valuation_interval_s=2.0,
            data_dir=tmp_path / "data",
        )
        await ensure_topics(settings, on_wait=lambda _line: None, timeout_s=30)
        traders = {each.account: Trader(url, each.account, each.key, each.secret) for each in keys}
        gateway = GatewayProcess(settings, tmp_path / "gateway.log")
        await gateway.start()
        try:
            yield World(settings, main, hedge, locked, bots, traders, gateway)
        finally:
            await gateway.stop(signal.SIGKILL)
            for trader in traders.values():
                await trader.close()


def execution(account: str, trade_id: int | None, **other: Any) -> ExecutionRecord:
    said: dict[str, Any] = {
        "symbol": "BTCUSDT", "side": "BUY", "price": Decimal(60_000), "quantity": Decimal("0.5"),
        "order_id": None if trade_id is None else 1_000 + trade_id, "event_time_us": NOW_US + (trade_id or 0),
        "strategy": "grid", "cycle_id": "c-1",
    } | other  # fmt: skip
    return ExecutionRecord(account=account, trade_id=trade_id, **said)


async def announce(settings: Settings, *executions: ExecutionRecord) -> None:
    async with open_producer(settings) as producer:
        for each in executions:
            await producer.send_and_wait(EXECUTIONS.name, execution_records.encode(each), key=each.account.encode())


async def booked(settings: Settings) -> list[Fill]:
    return [event for record in await read_log(settings) for event in record.events if isinstance(event, Fill)]


async def test_two_accounts_are_followed_beside_one_whose_key_is_refused_and_one_that_bots_trade_in(
    world: World,
) -> None:
    async def all_are_told() -> bool:
        return await world.states() == ["live", "live", "failed", "live"]

    await eventually(all_are_told, timeout_s=40, what=lambda: world.gateway.output)
    assert "refused the API key" in (await world.status(world.locked))["problem"]

    main, hedge = world.traders[world.main], world.traders[world.hedge]
    await main.market_order("BTCUSDT", "BUY", "0.01")
    await hedge.market_order("ETHBTC", "BUY", "0.2")
    await hedge.deposit("USDT", "100.5")
    for account in (world.main, world.hedge):
        await eventually(lambda account=account: world.agrees(account), what=lambda: world.gateway.output)  # type: ignore[misc]

    records = await read_log(world.of(world.hedge))
    assert {record.reporting for record in records} == {"BTC"}
    fills = await booked(world.of(world.hedge))
    assert {fill.fee_asset for fill in fills} == {"BNB"}
    assert all(0 < fill.rates["BNB"] < 1 for fill in fills), "the fee's rate is in BTC"
    assert await read_log(world.of(world.locked)) == []

    pages = [marks_pages.decode(record.value) for record in await read_all(world.settings.brokers, MARKS.name)]
    newest = max(pages, key=lambda page: page.time_us).rates
    assert newest["USDT"]["BTC"] > 10_000
    assert newest["BTC"]["USDT"] < Decimal("0.001")
    assert "BTC" not in newest["BTC"]


@pytest.mark.slow
async def test_two_gateways_share_the_accounts(world: World, tmp_path: Path) -> None:
    """Each follows its own; one that is killed holds up nothing of the other's."""
    await world.gateway.stop()
    names = ((world.main,), (world.hedge, world.bots))
    pair = [
        GatewayProcess(
            world.settings, tmp_path / f"{mine[0]}.log", *(word for name in mine for word in ("--account", name))
        )
        for mine in names
    ]
    trades = [
        partial(world.traders[world.main].market_order, "BTCUSDT", "BUY", "0.001"),
        partial(world.traders[world.hedge].market_order, "ETHBTC", "BUY", "0.02"),
    ]

    async def agree(account: str) -> None:
        await eventually(partial(world.agrees, account), timeout_s=60, what=lambda: f"{[one.output for one in pair]}")

    try:
        for one in pair:
            await one.start()
        for account, trade in zip((world.main, world.hedge), trades, strict=True):
            await trade()
            await agree(account)
        await announce(world.settings, execution(world.bots, 8))
        await pair[0].stop(signal.SIGKILL)
        for trade in trades:
            await trade()
        await agree(world.hedge)
        assert not await world.agrees(world.main)
        await pair[0].start()
        await agree(world.main)
        assert [fill.order_id for fill in await booked(world.of(world.bots))] == [1_008]
        for account in (world.main, world.hedge):
            _, outcomes = await folded(world.of(account))
            assert not [outcome for outcome in outcomes if outcome.conflicts or outcome.duplicates]

        pages = [marks_pages.decode(record.value) for record in await read_all(world.settings.brokers, MARKS.name)]
        recent = [page for page in pages if page.time_us > NOW_US]
        assert {"USDT", "BTC"} <= {currency for page in recent for currency in page.rates}
    finally:
        for one in pair:
            await one.stop(signal.SIGKILL)


async def test_executions_are_booked_once_each_through_repetitions_and_kills(world: World) -> None:
    bots = world.of(world.bots)
    unknown = execution(world.bots, 50, symbol="NOSUCHUSDT")
    ancient = execution(world.bots, 51, event_time_us=1_400_000_000_000_000)
    await announce(
        world.settings,
        execution(world.bots, 8),
        execution(world.bots, 7, side="SELL", quantity=Decimal("0.2")),
        execution(world.bots, 8, price=Decimal(1)),
        unknown,
        ancient,
        execution(world.bots, None, fee=Decimal("-0.25"), fee_asset="USDT"),
    )

    async def has(count: int) -> bool:
        return len(await booked(bots)) >= count

    await eventually(lambda: has(3), timeout_s=40, what=lambda: world.gateway.output)
    await world.gateway.stop(signal.SIGKILL)
    await announce(world.settings, execution(world.bots, 8), execution(world.bots, None, fee=Decimal(0)))
    await announce(world.settings, unknown, *(execution(world.bots, number) for number in (9, 7, 10, 10, 11)))
    await world.gateway.start()
    await eventually(lambda: has(6), timeout_s=40, what=lambda: world.gateway.output)
    await announce(world.settings, execution(world.bots, 12, symbol="ETHBTC", price=Decimal("0.04")))
    await eventually(lambda: has(7), what=lambda: world.gateway.output)

    fills = await booked(bots)
    assert [fill.order_id for fill in fills] == [1_008, 1_007, 0, 1_009, 1_010, 1_011, 1_012]
    assert [fill.trade_id for fill in fills] == sorted(fill.trade_id for fill in fills)
    assert {(fill.strategy, fill.cycle_id) for fill in fills} == {("grid", "c-1")}
    assert fills[0].price == 60_000, "the first announcement counts"
    assert fills[-1].rates["BTC"] > 10_000

    book, outcomes = await folded(bots)
    assert sum(outcome.duplicates for outcome in outcomes) == 0
    assert holdings(book)["BTC"] == Decimal("0.5") * 5 - Decimal("0.2") - Decimal("0.02")
    flows = [flow for flow in book.flows.values() if flow.kind is FlowKind.REBATE]
    assert [flow.quantity for flow in flows] == [Decimal("0.25")]

    letters = [dead_letters.decode(record.value) for record in await read_all(bots.brokers, DEAD_LETTERS.name)]
    reasons = [letter.reason for letter in letters if letter.key == world.bots.encode()]
    assert sum("NOSUCHUSDT" in reason for reason in reasons) >= 2, "what was not booked can be tried again"
    assert any("before the exchange began" in reason for reason in reasons)
