"""The gateway against the simulated exchange and a real broker."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import redis.asyncio
from aiokafka import TopicPartition
from pydantic import SecretStr

from infra.settings import Settings
from portfolio import TradeCorrection
from portfolio.events import BalanceReport, Fill, Flow, FlowKind, ValuationPoint
from portfolio.money import ZERO, exact_arithmetic
from portfolio.reconciliation import reconcile
from streams.correcting import Account, append, looking_at
from streams.gateway.log import open_producer
from streams.gateway.status import status_key
from streams.records import AccountEvents, MarksPage, account_events, marks_pages
from streams.topics import ACCOUNT_EVENTS, MARKS
from tests.support.gateway import GatewayProcess, Trader, eventually, folded, holdings, own_exchange, read_log, reader

pytestmark = pytest.mark.integration


@pytest.fixture
async def settings(kafka_brokers: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Settings]:
    """An exchange of its own, and an account name that no other test uses."""
    options = {"redis_url": SecretStr(redis_url), "data_dir": tmp_path / "data", "valuation_interval_s": 2.0}
    async with own_exchange(kafka_brokers, **options) as settings:
        yield settings


@pytest.fixture
async def trader(settings: Settings) -> AsyncIterator[Trader]:
    trader = Trader.on_own_exchange(settings)
    yield trader
    await trader.close()


@pytest.fixture
async def gateway(settings: Settings, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    process = GatewayProcess(settings, tmp_path / "gateway.log")
    yield process
    await process.stop(signal.SIGKILL)


def agrees(settings: Settings, trader: Trader) -> Callable[[], Awaitable[bool]]:
    """Whether the folded log has every trade of the exchange once, and its balances."""

    async def check() -> bool:
        book, _ = await folded(settings)
        trades = sum(totals.fills for totals in book.symbols.values())
        return trades == len((await trader.books())["trades"]) and holdings(book) == await trader.totals()

    return check


async def read_status(settings: Settings) -> dict[str, str]:
    async with redis.asyncio.from_url(settings.redis_dsn, decode_responses=True) as client:
        status = await client.hgetall(status_key(settings.account))
    return {str(name): str(value) for name, value in status.items()}


def is_live(settings: Settings) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return (await read_status(settings)).get("state") == "live"

    return check


async def published_trades(settings: Settings) -> list[tuple[str, int]]:
    events = [event for record in await read_log(settings) for event in record.events]
    return [(event.symbol, event.trade_id) for event in events if isinstance(event, Fill)]


async def exchange_trades(trader: Trader) -> list[tuple[str, int]]:
    return [(trade["symbol"], trade["id"]) for trade in (await trader.books())["trades"]]


async def trade(
    trader: Trader,
    count: int,
    seed: int,
    *,
    pause_s: float,
    has_flows: bool = True,
    until: asyncio.Event | None = None,
) -> None:
    """A seeded run of at least `count` small orders, with a deposit and a withdrawal in it, until an event is set."""
    chance = random.Random(seed)
    number = 0
    while number < count or (until is not None and not until.is_set()):
        symbol = chance.choice(["BTCUSDT", "ETHUSDT"])
        quantity = {"BTCUSDT": "0.0004", "ETHUSDT": "0.008"}[symbol]
        # An even walk would run out of what is held: it sells only what it has bought.
        side = "BUY" if number % 2 == 0 else "SELL"
        if side == "SELL" and (await trader.totals()).get(symbol[:3], Decimal(0)) < Decimal(quantity):
            side = "BUY"
        await trader.market_order(symbol, side, quantity)
        if has_flows and number == count // 3:
            await trader.deposit("USDT", "1234.5678")
        if has_flows and number == count // 2:
            await trader.withdraw("BTC", "0.003")
        number += 1
        await asyncio.sleep(pause_s)


async def test_the_first_sync_opens_with_what_was_held_before_any_trade(
    settings: Settings, trader: Trader, gateway: GatewayProcess
) -> None:
    start = await trader.totals()
    for side, quantity in (("BUY", "0.002"), ("SELL", "0.001"), ("BUY", "0.0015")):
        await trader.market_order("BTCUSDT", side, quantity)
    await gateway.start()
    await eventually(agrees(settings, trader))

    first, *_ = await read_log(settings)
    openings = [event for event in first.events if isinstance(event, Flow)]
    assert {flow.asset: flow.quantity for flow in openings} == start
    assert {flow.kind for flow in openings} == {FlowKind.OPENING}
    assert all(flow.rates.get(flow.asset) for flow in openings if flow.asset != "USDT")
    book, outcomes = await folded(settings)
    assert not reconcile(book)
    assert not [warning for outcome in outcomes for warning in outcome.warnings]
    assert await published_trades(settings) == await exchange_trades(trader)

    assert await gateway.stop() == 0, gateway.output


async def test_what_came_and_went_before_the_first_sync_has_its_kind_and_no_opening_is_negative(
    settings: Settings, trader: Trader, gateway: GatewayProcess
) -> None:
    await trader.market_order("BTCUSDT", "BUY", "0.01")
    await trader.withdraw("BTC", "0.058")  # more than was held before the trade
    await trader.deposit("ETH", "1")
    await trader.market_order("ETHUSDT", "SELL", "0.9")  # spent before anything shows where it came from
    await trader.withdraw("ETH", "0.1")
    await gateway.start()
    await eventually(agrees(settings, trader))

    flows = {
        (event.asset, event.kind): event.quantity
        for record in await read_log(settings)
        for event in record.events
        if isinstance(event, Flow)
    }
    assert flows["BTC", FlowKind.OPENING] == Decimal("0.05")
    assert flows["BTC", FlowKind.WITHDRAWAL] == Decimal("-0.058")
    assert (flows["ETH", FlowKind.DEPOSIT], flows["ETH", FlowKind.WITHDRAWAL]) == (Decimal(1), Decimal("-0.1"))
    assert {asset for asset, kind in flows if kind is FlowKind.OPENING} == {"USDT", "BNB", "BTC"}
    book, outcomes = await folded(settings)
    assert not reconcile(book)
    assert not [warning for outcome in outcomes for warning in outcome.warnings]


async def test_live_events_come_in_order_each_fill_before_its_balances(
    settings: Settings, trader: Trader, gateway: GatewayProcess
) -> None:
    await gateway.start()
    await eventually(is_live(settings))
    before = len(await read_log(settings))
    await trade(trader, 12, seed=1, pause_s=0.02)
    await eventually(agrees(settings, trader))
    await asyncio.sleep(2.5)  # time for a balance sync and a valuation point

    events = [event for record in (await read_log(settings))[before:] for event in record.events]
    fills = [event for event in events if isinstance(event, Fill)]
    assert [(fill.symbol, fill.trade_id) for fill in fills] == await exchange_trades(trader)
    for place, event in enumerate(events):
        if isinstance(event, Fill):
            following = next(later for later in events[place:] if isinstance(later, BalanceReport))
            assert {event.base, event.quote} <= following.balances.keys()
            assert event.dust_limit > 0
            assert event.fee_asset in {"USDT", event.base} or event.rates[event.fee_asset] > 0
    flows = [event for event in events if isinstance(event, Flow)]
    assert [(flow.asset, str(flow.quantity)) for flow in flows] == [("USDT", "1234.56780000"), ("BTC", "-0.00300000")]
    assert any(isinstance(event, BalanceReport) and event.complete for event in events)
    assert [event for event in events if isinstance(event, ValuationPoint)]
    # Each event's balances were true when it was booked: at no point do ledger and exchange differ.
    book, _ = await folded(settings)
    assert not reconcile(book)


async def test_marks_of_all_assets_go_to_every_partition(settings: Settings, gateway: GatewayProcess) -> None:
    await gateway.start()
    pages: dict[int, MarksPage] = {}
    async with reader(settings) as consumer:
        consumer.assign([TopicPartition(MARKS.name, number) for number in range(settings.partitions)])
        async with asyncio.timeout(20):
            while len(pages) < settings.partitions:
                message = await consumer.getone()
                page = marks_pages.decode(message.value)
                if {"BTC", "BNB"} <= page.rates["USDT"].keys():
                    pages[message.partition] = page
    assert len({page.time_us for page in pages.values()}) < settings.partitions
    assert all(Decimal(10_000) < page.rates["USDT"]["BTC"] < Decimal(1_000_000) for page in pages.values())


@pytest.mark.parametrize("seed", [3])
async def test_killed_while_trading_goes_on_it_loses_nothing_and_doubles_nothing(
    settings: Settings, trader: Trader, gateway: GatewayProcess, seed: int
) -> None:
    chance = random.Random(seed)
    # It trades on until the gateway was killed for the last time; deposit and withdrawal come early.
    killed = asyncio.Event()
    trading = asyncio.create_task(trade(trader, 45, seed, pause_s=0.05, until=killed))
    published = 0

    async def has_published_more() -> bool:
        return len(await published_trades(settings)) > published

    for _ in range(3):
        published = len(await published_trades(settings))
        await gateway.start()
        await eventually(has_published_more, interval_s=0.05, what=lambda: gateway.output)
        await asyncio.sleep(chance.uniform(0.0, 0.6))
        await gateway.stop(signal.SIGKILL)
    killed.set()
    await gateway.start()
    await trading
    await eventually(agrees(settings, trader))

    book, outcomes = await folded(settings)
    assert holdings(book) == await trader.totals()
    assert not reconcile(book)
    assert not [outcome for outcome in outcomes if outcome.conflicts or outcome.duplicates]
    assert Counter(await published_trades(settings)) == Counter(await exchange_trades(trader))


@pytest.mark.slow
async def test_a_gap_after_a_disconnect_is_backfilled(
    settings: Settings, trader: Trader, gateway: GatewayProcess
) -> None:
    await gateway.start()
    await eventually(is_live(settings))
    trading = asyncio.create_task(trade(trader, 60, seed=5, pause_s=0.02, has_flows=False))
    for _ in range(3):
        await asyncio.sleep(0.4)
        await trader.disconnect()
    await trading
    await eventually(agrees(settings, trader))
    await eventually(is_live(settings))
    assert sorted(await published_trades(settings)) == sorted(await exchange_trades(trader))
    flows = [e for record in await read_log(settings) for e in record.events if isinstance(e, Flow)]
    assert not [flow for flow in flows if flow.id.startswith("difference")], gateway.output

    status = await read_status(settings)
    assert int(status["sync_errors"]) >= 1
    assert int(status["last_sync_time_us"]) > 0


@pytest.mark.slow
async def test_what_the_ledger_leaves_out_of_the_log_the_gateway_leaves_out_too(
    settings: Settings, trader: Trader, gateway: GatewayProcess
) -> None:
    """Records that end as dead letters: another reporting currency once stopped every later start for good."""
    await gateway.start()
    await eventually(is_live(settings))
    await gateway.stop()
    strange = Flow(time_us=1, id="x", asset="XYZ", quantity=Decimal(5), kind=FlowKind.DEPOSIT)  # carries no rate
    fine = AccountEvents(account=settings.account, reporting="USDT", events=(strange,))
    async with open_producer(settings) as producer:
        for value in (
            b"garbage",
            account_events.encode(msgspec.structs.replace(fine, reporting="EUR")),
            account_events.encode(msgspec.structs.replace(fine, account="another")),
            account_events.encode(fine),
        ):
            await producer.send_and_wait(ACCOUNT_EVENTS.name, value, key=settings.account.encode())

    await trader.market_order("BTCUSDT", "BUY", "0.001")
    await gateway.start()
    await eventually(is_live(settings))
    assert (await exchange_trades(trader))[-1] in await published_trades(settings)
    flows = [event for record in await read_log(settings) for event in record.events if isinstance(event, Flow)]
    assert not [flow for flow in flows if flow.asset == "XYZ" and flow.id != strange.id]


async def test_what_a_person_corrects_is_compared_with_the_exchange_while_the_connection_lives(
    settings: Settings, trader: Trader, gateway: GatewayProcess
) -> None:
    """The exchange gave nothing back: the difference is booked, and booked back once the correction is withdrawn."""

    async def account_of_log() -> Account:
        async with looking_at(settings, settings.account, lambda _events: None) as looking:
            return await looking.now(lambda _fill: True)

    async def balances_agree() -> bool:
        return holdings((await account_of_log()).book) == await trader.totals()

    async def state(trade: Fill, becomes: Fill | None, name: str) -> None:
        correction = TradeCorrection(
            id=name,
            symbol=trade.symbol,
            trade_id=trade.trade_id,
            order_id=trade.order_id,
            replacement=becomes,
            author="ada",
            reason="a bust that was none",
            time_us=trade.time_us,
        )
        await append(settings, (await account_of_log()).book, correction)

    await gateway.start()
    await eventually(is_live(settings), what=lambda: gateway.output)
    await trader.market_order("BTCUSDT", "BUY", "0.02")
    await eventually(agrees(settings, trader), what=lambda: gateway.output)
    trade, *_ = (await account_of_log()).fills

    await state(trade, None, "cancelled")
    assert not await balances_agree()
    await eventually(balances_agree, what=lambda: gateway.output)
    await state(trade, trade, "withdrawn")
    assert not await balances_agree()
    await eventually(balances_agree, what=lambda: gateway.output)

    unexplained = [flow for flow in (await account_of_log()).book.flows.values() if flow.kind is FlowKind.UNCLASSIFIED]
    with exact_arithmetic():
        assert sum((flow.quantity for flow in unexplained if flow.asset == "BTC"), ZERO) == ZERO
    assert unexplained


async def test_a_wrong_key_is_one_clear_line(settings: Settings, tmp_path: Path) -> None:
    wrong = settings.model_copy(update={"binance_api_key": SecretStr("another-key")})
    process = GatewayProcess(wrong, tmp_path / "wrong.log")
    await process.start()
    assert await process.exit_code() == 1
    assert "Binance refused the API key" in process.output
    assert "Traceback" not in process.output
