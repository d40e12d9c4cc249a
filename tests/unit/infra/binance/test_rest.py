"""Reading over REST, against a server that answers as Binance does when it is in trouble."""

import asyncio
import time
from decimal import Decimal

import pytest

from infra.binance.catalogue import Catalogue, Instrument
from infra.binance.errors import KeyRefused, MalformedEvent, RequestRefused
from infra.binance.permissions import KeyTooPowerful, check_key, read_rights
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


async def test_a_refusal_of_the_address_holds_up_everybody_who_shares_it() -> None:
    exchange = ScriptedExchange()
    refused = {"code": -1003, "msg": "Way too much request weight used; IP banned until 1."}
    exchange.scripts["account"] = [(418, refused, {"Retry-After": "1"}), (200, ACCOUNT)]
    exchange.scripts["ticker/price"] = [(200, [])]
    async with connected(exchange) as rest:
        banned = asyncio.create_task(rest.account())
        while rest.venue.weights.blocked_s == 0:  # noqa: ASYNC110 - it comes with an answer
            await asyncio.sleep(0.005)
        started = time.monotonic()
        await rest.prices()
        assert time.monotonic() - started > 0.5
        await banned


@pytest.mark.parametrize(
    "answer",
    [
        (408, {"code": -1007, "msg": "Timeout waiting for response from backend server."}),
        (400, {"code": -1006, "msg": "An unexpected response was received from the message bus."}),
        (503, {"code": -1008, "msg": "Server is currently overloaded with other requests."}),
        (502, ["no", "object"]),
        (500, {"code": "x"}),
    ],
)
async def test_an_unknown_outcome_is_asked_again(answer: tuple[int, object]) -> None:
    exchange = ScriptedExchange()
    exchange.scripts["account"] = [answer, (200, ACCOUNT)]
    async with connected(exchange) as rest:
        assert (await rest.account()).balances["BTC"].total == 2


async def test_a_firewall_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.binance.transport._FORBIDDEN_WAIT_S", 0.01)
    exchange = ScriptedExchange()
    exchange.scripts["account"] = [(403, "<html></html>"), (200, ACCOUNT)]
    async with connected(exchange) as rest:
        await rest.account()
    assert exchange.count("account") == 2


async def test_the_rights_of_a_key_are_its_own_and_of_its_account_where_the_exchange_does_not_tell() -> None:
    exchange = ScriptedExchange()
    path = "/sapi/v1/account/apiRestrictions"
    told = {"enableReading": True, "enableWithdrawals": True, "enableMargin": True, "ipRestrict": True}
    # A key without the right to ask is no reason to stop: other histories may still be read.
    refused = (401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."})
    exchange.scripts[path] = [(200, told), (404, "<html></html>"), refused]
    exchange.scripts["account"] = [(200, ACCOUNT | {"canTrade": True, "canWithdraw": False})]
    async with connected(exchange) as rest:
        own = await read_rights(rest)
        assert (own.powers, own.is_of_key, own.is_bound) == (("withdraw", "borrow on margin"), True, True)
        for _ in range(2):
            of_account = await read_rights(rest)
            assert (of_account.powers, of_account.is_of_key) == (("trade",), False)


async def test_a_key_that_may_do_more_is_named_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    exchange = ScriptedExchange()
    told = {"enableReading": True, "enableSpotAndMarginTrading": True}
    exchange.scripts["/sapi/v1/account/apiRestrictions"] = [(200, told)]
    async with connected(exchange) as rest:
        await check_key(rest, "main", "warn")
        assert "account main: the API key may trade. In the exchange's API management" in caplog.text
        with pytest.raises(KeyTooPowerful, match="PORTFOLIO_KEY_PERMISSIONS=warn"):
            await check_key(rest, "main", "refuse")


async def test_the_limit_is_the_one_that_the_exchange_tells() -> None:
    limits = [
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61_000},
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1_234},
    ]
    exchange = ScriptedExchange()
    exchange.scripts["exchangeInfo"] = [(200, {"symbols": [], "rateLimits": limits}), (200, {"symbols": []})]
    async with connected(exchange) as rest:
        for _ in range(2):
            await rest.catalogue()
            assert rest.venue.weights.limit == 1_234


async def test_nothing_is_sent_whose_weight_is_unknown() -> None:
    exchange = ScriptedExchange()
    async with connected(exchange) as rest:
        with pytest.raises(KeyError):
            await rest.read("api/v3/newEndpoint")
    assert exchange.count("newEndpoint") == 0
