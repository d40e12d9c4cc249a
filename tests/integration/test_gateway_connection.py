"""How the gateway keeps in touch: keys of all kinds, connections that come and go, limits, halted markets."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiokafka import TopicPartition
from pydantic import SecretStr

from agents.valuation import Valuer
from infra.errors import RemediableError
from infra.settings import Settings
from streams.creation import ensure_topics
from streams.gateway.service import run_gateway
from streams.records import MarksPage, marks_pages
from streams.topics import MARKS
from tests.support.followed import Followed, followed, running_gateway
from tests.support.gateway import eventually, folded, reader

pytestmark = pytest.mark.integration

_HANDOVERS = 6


@pytest.fixture
async def settings(kafka_brokers: str, redis_url: str) -> Settings:
    settings = Settings(
        kafka_brokers=kafka_brokers,
        redis_url=SecretStr(redis_url),
        balance_sync_interval_s=1.0,
        valuation_interval_s=5.0,
        key_permissions="refuse",
    )
    await ensure_topics(settings, on_wait=lambda _line: None, timeout_s=30)
    return settings


async def trade(world: Followed, count: int, seed: int) -> None:
    """Small orders of every account, in turns."""
    dice = random.Random(seed)
    for number in range(count):
        for trader in world.traders.values():
            symbol, quantity = dice.choice([("BTCUSDT", "0.0004"), ("ETHUSDT", "0.008")])
            side = "BUY" if number % 2 == 0 or symbol == "ETHUSDT" else "SELL"
            await trader.market_order(symbol, side, quantity)
        await asyncio.sleep(0.01)


async def counted(world: Followed, name: str) -> int:
    return sum([int((await world.status(account)).get(name, 0)) for account in world.accounts])


async def test_connections_are_replaced_under_load_and_nothing_is_missed_doubled_or_synced_again(
    settings: Settings,
) -> None:
    """Keys of all three kinds, none of which may do more than read; each connection lives about a second."""
    settings = settings.model_copy(update={"binance_stream_age_max_s": 0.8})
    async with followed(settings) as world, running_gateway(world):
        errors = await counted(world, "sync_errors")
        stop_s = time.monotonic() + 60
        round_number = 0
        while await counted(world, "handovers") < _HANDOVERS and time.monotonic() < stop_s:
            await trade(world, 8, seed=round_number)
            round_number += 1
        await eventually(world.agree)
        assert await counted(world, "handovers") >= _HANDOVERS
        assert await counted(world, "sync_errors") == errors
        limits = await world.operate("limits")
        assert not limits["api"]["127.0.0.1"]["refused"]


@pytest.mark.slow
async def test_a_shutdown_that_is_announced_costs_no_sync(settings: Settings) -> None:
    async with followed(settings, kinds=("hmac",)) as world, running_gateway(world):
        errors = await counted(world, "sync_errors")
        trading = asyncio.create_task(trade(world, 120, seed=1))
        for expected in (1, 2):
            await world.operate("faults", {"kind": "server-shutdown", "seconds": 5})
            await eventually(partial(at_least, world, "handovers", expected))
        await trading
        await eventually(world.agree)
        assert await counted(world, "sync_errors") == errors


async def at_least(world: Followed, name: str, count: int) -> bool:
    return await counted(world, name) >= count


async def test_a_key_that_may_trade_is_refused_where_that_is_wanted(settings: Settings) -> None:
    async with followed(settings, kinds=("hmac",)) as world:
        [account] = world.accounts
        trades, _ = account.keys
        config = replace(account.config(), api_key=SecretStr(trades.key), secret_key=SecretStr(trades.secret))
        with pytest.raises(RemediableError, match=r"may trade.*only the right to read"):
            await asyncio.wait_for(run_gateway(world.settings, [config]), 30)


async def test_a_halted_and_a_delisted_market_keep_their_price_with_its_date(settings: Settings) -> None:
    settings = settings.model_copy(update={"binance_catalogue_interval_s": 0.5, "key_permissions": "warn"})
    async with followed(settings, kinds=("hmac",)) as world, running_gateway(world):
        [account] = world.accounts
        await world.traders[account.name].market_order("ETHUSDT", "BUY", "0.01")
        moving = await next_page(world, lambda page: {"BTC", "BNB", "ETH"} <= page.rates.get("USDT", {}).keys())
        assert moving.stale == {}

        halted_us = time.time_ns() // 1_000
        await world.operate("symbols", {"symbol": "BNBUSDT", "status": "HALT"})
        await world.operate("symbols", {"symbol": "ETHUSDT", "status": "DELISTED"})
        await world.operate("symbols", {"symbol": "ETHBTC", "status": "DELISTED"})
        page = await next_page(world, lambda page: page.stale.get("USDT", {}).keys() >= {"BNB", "ETH"})
        assert page.rates["USDT"]["BNB"] == moving.rates["USDT"]["BNB"]
        assert page.rates["USDT"]["ETH"] > 0
        assert "BTC" not in page.stale["USDT"]
        for asset in ("BNB", "ETH"):
            assert page.stale["USDT"][asset] < halted_us + 2_000_000

        book, _ = await folded(world.settings_of(account))
        [told] = Valuer(0).value({account.name: book}, page, 0.0)
        assert told.stale_marks == page.stale["USDT"]
        assert told.snapshot.marks["BNB"] == moving.rates["USDT"]["BNB"]

        async def status_says() -> bool:
            return bool(json.loads((await world.status(account))["stale_assets"]) == page.stale["USDT"])

        await eventually(status_says)
        await world.operate("symbols", {"symbol": "BNBUSDT", "status": "TRADING"})
        again = await next_page(world, lambda page: page.stale.get("USDT", {}).keys() == {"ETH"})
        assert "BNB" in again.rates["USDT"]


async def next_page(world: Followed, is_wanted: Callable[[MarksPage], bool]) -> MarksPage:
    """The first page from now on that is wanted."""
    async with reader(world.settings) as consumer:
        partition = TopicPartition(MARKS.name, 0)
        consumer.assign([partition])
        await consumer.seek_to_end(partition)
        async with asyncio.timeout(30):
            while True:
                message = await consumer.getone()
                page = marks_pages.decode(message.value)
                if is_wanted(page):
                    return page


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_small_limit_is_never_passed_however_much_there_is_to_read(settings: Settings) -> None:
    """Three accounts on a dozen symbols, each read for its history, where a minute allows thirty requests."""
    symbols = ("SOLUSDT", "ADAUSDT", "XRPUSDT", "DOTUSDT", "SOLBTC", "ADABTC", "LTCUSDT", "LINKUSDT")
    async with followed(settings, weight_limit=600, symbols=symbols) as world:
        await trade(world, 30, seed=1)
        started_s = time.monotonic()
        async with running_gateway(world):
            await trade(world, 30, seed=2)
            await eventually(world.agree, timeout_s=240)
            assert time.monotonic() - started_s > 50, "there was no need to wait, so nothing was shown"
            await asyncio.sleep(70)
        told = (await world.operate("limits"))["api"]["127.0.0.1"]
    assert told["refused"] == {}
    assert told["most_used"] <= told["limit"] == 600


# Requests are struck by path, so that the orders of the test are not.
REST, STREAM = {"path": "/api/v3/account"}, {"target": "websocket-api", "path": "userDataStream"}
FAULTS: list[dict[str, Any]] = [
    {"kind": "disconnect"},
    {"kind": "server-shutdown", "seconds": 0.05},
    {"kind": "server-shutdown", "seconds": 3},
    {"kind": "stream-terminated"},
    {"kind": "silence"},
    {"kind": "duplicate", "count": 6},
    {"kind": "delay", "seconds": 2},
    {"kind": "hang", "seconds": 1, "count": 2} | REST,
    {"kind": "hang"} | STREAM,
    {"kind": "too-many-requests", "seconds": 3} | REST,
    {"kind": "too-many-requests", "seconds": 3} | STREAM,
    {"kind": "banned", "seconds": 3} | REST,
    {"kind": "banned", "seconds": 3} | STREAM,
    {"kind": "forbidden"} | REST,
    {"kind": "server-error", "status": 502, "count": 3} | REST,
    {"kind": "server-error", "status": 503} | STREAM,
    {"kind": "timeout", "count": 2} | REST,
    {"kind": "timeout"} | STREAM,
    {"kind": "outside-window", "count": 2} | REST,
    {"kind": "outside-window"} | STREAM,
    {"kind": "disconnect", "target": "market"},
    {"kind": "server-shutdown", "target": "market", "seconds": 0.1},
]


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_each_fault_is_survived_with_every_fill_once(settings: Settings) -> None:
    async with followed(settings) as world, running_gateway(world):
        for number, fault in enumerate(FAULTS):
            await world.operate("faults", fault)
            if fault.get("target") == "websocket-api":
                # It strikes when the next connection subscribes.
                await world.operate("faults", {"kind": "disconnect"})
            await trade(world, 6, seed=number)
            await eventually(world.agree, timeout_s=90, what=partial(str, fault))
            await eventually(world.are_live, timeout_s=60, what=partial(str, fault))
        assert await counted(world, "handovers") >= 1


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_clock_that_jumps_is_measured_again(settings: Settings) -> None:
    async with followed(settings, kinds=("hmac", "ed25519")) as world, running_gateway(world):
        for seconds in (30, -60):
            await world.operate("faults", {"kind": "clock-jump", "seconds": seconds})
            await world.operate("faults", {"kind": "disconnect"})
            await eventually(world.are_live, timeout_s=60)
        for account in world.accounts:
            heartbeat_us = int((await world.status(account))["heartbeat_time_us"])
            assert abs(heartbeat_us / 1e6 - time.time() + 30) < 10
        await world.operate("faults", {"kind": "clock-jump", "seconds": 30})
        await trade(world, 6, seed=1)
        await eventually(world.agree, timeout_s=60)
