"""Reading over REST, against a server that answers as Binance does when it is in trouble."""

import time
from decimal import Decimal

import pytest

from infra.binance.catalogue import Catalogue, Instrument
from infra.binance.errors import KeyRefused, MalformedEvent, RequestRefused
from infra.binance.prices import LivePrices, PriceHistory
from tests.support.scripted_exchange import ScriptedExchange, candles, connected

MINUTE_US = 60_000_000
BLOCK_US = 1_000 * MINUTE_US
CATALOGUE = Catalogue({"BTCUSDT": Instrument(symbol="BTCUSDT", base="BTC", quote="USDT")})


ACCOUNT = {"updateTime": 1_700_000_000_000, "balances": [{"asset": "BTC", "free": "1.5", "locked": "0.5"}]}


async def test_a_rate_limit_is_waited_out_as_asked() -> None:
    exchange = ScriptedExchange()
    refused = {"code": -1003, "msg": "Too many requests."}
    exchange.scripts["account"] = [(429, refused, {"Retry-After": "1"}), (200, ACCOUNT, {"X-MBX-USED-WEIGHT-1M": "20"})]
    async with connected(exchange) as rest:
        started = time.monotonic()
        report = await rest.account()
        assert time.monotonic() - started >= 1
        assert rest.weight_used == 20
    assert report.balances["BTC"].total == 2
    assert exchange.count("account") == 2


async def test_a_server_error_is_tried_again_and_a_clock_error_after_measuring() -> None:
    exchange = ScriptedExchange()
    exchange.scripts["account"] = [
        (502, {"code": -1001, "msg": "Disconnected."}),
        (400, {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}),
        (200, ACCOUNT),
    ]
    async with connected(exchange) as rest:
        await rest.account()
    assert exchange.count("account") == 3
    assert exchange.count("time") == 2


async def test_requests_are_signed_and_ask_for_microseconds() -> None:
    exchange = ScriptedExchange()
    exchange.scripts["account"] = [(200, ACCOUNT)]
    async with connected(exchange) as rest:
        await rest.account()
    request = exchange.requests[-1]
    assert {"timestamp", "signature"} <= request.query.keys()
    assert (request.headers["X-MBX-APIKEY"], request.headers["X-MBX-TIME-UNIT"]) == ("key", "MICROSECOND")


@pytest.mark.parametrize("code", [-2014, -2015, -1022])
async def test_a_refused_key_says_what_to_do(code: int) -> None:
    exchange = ScriptedExchange()
    exchange.scripts["account"] = [(401, {"code": code, "msg": "Not this key."})]
    async with connected(exchange) as rest:
        with pytest.raises(KeyRefused, match="Check BINANCE_API_KEY"):
            await rest.account()


async def test_a_request_that_is_at_fault_is_not_repeated() -> None:
    exchange = ScriptedExchange()
    exchange.scripts["myTrades"] = [(400, {"code": -1100, "msg": "Illegal characters."})]
    async with connected(exchange) as rest:
        with pytest.raises(RequestRefused, match="-1100"):
            await rest.trades("BTCUSDT", 0, CATALOGUE)
        exchange.scripts["myTrades"] = [(400, {"code": -1121, "msg": "Invalid symbol."})]
        assert await rest.trades("BTCUSDT", 0, CATALOGUE) == []
        exchange.scripts["myTrades"] = [(200, {"no": "list"})]
        with pytest.raises(MalformedEvent):
            await rest.trades("BTCUSDT", 0, CATALOGUE)
    assert exchange.count("myTrades") == 3


async def test_nothing_but_reading_can_be_reached() -> None:
    async with connected(ScriptedExchange()) as rest:
        methods = {name for name in dir(rest) if not name.startswith("_")}
    assert methods == {
        "account", "account_flags", "candles", "catalogue", "close", "exchange_time_us", "key", "key_restrictions",
        "latency_ms", "measure_clock", "prices", "read", "trades", "venue", "weight_used",
    }  # fmt: skip


async def test_past_prices_come_a_thousand_minutes_at_once() -> None:
    exchange = ScriptedExchange()
    start_us = 28_000 * BLOCK_US
    exchange.scripts["klines"] = candles(start_us // 1_000, (start_us + 2 * BLOCK_US) // 1_000)
    async with connected(exchange) as rest:
        history = PriceHistory(rest)
        for minute in range(0, 2_000, 7):
            price = await history.price("BTCUSDT", start_us + minute * MINUTE_US + 59_999_999)
            assert price == Decimal(start_us // MINUTE_US + minute)
        assert exchange.count("klines") == 2
        # Before the symbol was listed its first price counts, after it fell silent the last.
        assert await history.price("BTCUSDT", start_us - 5 * MINUTE_US) == Decimal(start_us // MINUTE_US)
        assert await history.price("BTCUSDT", start_us + 9 * BLOCK_US) == Decimal(start_us // MINUTE_US + 1_999)


async def test_a_symbol_that_never_traded_has_no_past_price() -> None:
    exchange = ScriptedExchange()
    exchange.scripts["klines"] = candles(0, 0)
    async with connected(exchange) as rest:
        assert await PriceHistory(rest).price("BTCUSDT", BLOCK_US) is None


def test_a_streamed_price_is_not_overwritten_by_a_poll_until_the_stream_is_lost() -> None:
    prices = LivePrices()
    prices.poll({"BTCUSDT": "1", "ETHUSDT": "2", "XYZUSDT": "0.00", "BAD": "x"})
    prices.stream("BTCUSDT", Decimal(10))
    prices.poll({"BTCUSDT": "3", "ETHUSDT": "4"})
    assert [prices.get(symbol) for symbol in ("BTCUSDT", "ETHUSDT", "XYZUSDT", "BAD")] == [10, 4, None, None]
    prices.lose_stream(["BTCUSDT"])
    prices.poll({"BTCUSDT": "5"})
    assert prices.get("BTCUSDT") == 5


def test_a_price_is_dated_when_it_is_seen_to_move() -> None:
    now_us = 1_000
    prices = LivePrices(lambda: now_us)
    prices.poll({"BTCUSDT": "1", "ETHUSDT": "2"})
    assert prices.time_us("BTCUSDT") is None
    now_us = 2_000
    prices.poll({"BTCUSDT": "1", "ETHUSDT": "3"})
    assert (prices.time_us("BTCUSDT"), prices.time_us("ETHUSDT")) == (None, 2_000)
    prices.date("BTCUSDT", 500)
    prices.date("ETHUSDT", 500)
    assert (prices.time_us("BTCUSDT"), prices.time_us("ETHUSDT")) == (500, 2_000)
    now_us = 3_000
    prices.stream("BTCUSDT", Decimal(1))
    assert prices.time_us("BTCUSDT") == 3_000
