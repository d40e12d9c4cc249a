"""Thirty symbols, generated, at a high speed: what a client sees, and how the exchange keeps up."""

import asyncio
import json
from collections.abc import AsyncIterator
from fractions import Fraction

import pytest
from websockets.asyncio.client import connect

from infra.exchange.app import ExchangeOptions, running_exchange
from tests.support.exchange_client import local_client, now_ms

_NAMES = "SOL ADA XRP DOGE DOT LINK AVAX LTC BCH ATOM NEAR UNI FIL APT ARB OP SUI SEI INJ TIA ALGO VET GRT AAVE MKR"
_SYMBOLS = (*(f"{name}USDT" for name in _NAMES.split()), "SOLBTC")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running_exchange(ExchangeOptions(symbols=_SYMBOLS, speed=Fraction(20))) as address:
        yield address


async def test_thirty_symbols_are_listed_quoted_and_traded(url: str) -> None:
    async with local_client(url) as client:
        info = await client.get_exchange_info()
        assert {entry["symbol"] for entry in info["symbols"]} >= set(_SYMBOLS)
        assert len(info["symbols"]) == 30
        for symbol in ("SOLUSDT", "MKRUSDT"):
            order = await client.create_order(symbol=symbol, side="BUY", type="MARKET", quoteOrderQty="100")
            assert order["status"] == "FILLED"
            assert len(await client.get_my_trades(symbol=symbol)) == len(order["fills"])
        assert len(await client.get_klines(symbol="SOLBTC", interval="1m", limit=10)) == 10


async def test_all_symbols_trade_and_trades_catch_up_with_the_clock(url: str) -> None:
    streams = "/".join(f"{symbol.lower()}@trade" for symbol in _SYMBOLS)
    seen: set[str] = set()
    count, late_ms = 0, 10_000
    async with asyncio.timeout(60), connect(f"{url.replace('http', 'ws')}/stream?streams={streams}") as socket:
        while count < 1500 or late_ms > 1500:
            trade = json.loads(await socket.recv())["data"]
            seen.add(trade["s"])
            count += 1
            late_ms = now_ms() - trade["T"]
    assert seen == set(_SYMBOLS)
    assert late_ms >= 0
