"""Public endpoints: time, symbols, prices, candles. Shapes and weights as in Binance's `rest-api.md`."""

from collections.abc import Callable
from decimal import Decimal

from infra.exchange.candles import INTERVALS, Candle, interval_end, interval_start
from infra.exchange.decimals import wire
from infra.exchange.endpoints import Call, Endpoint
from infra.exchange.engine import Exchange
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.parameters import Parameters

_DAY_US = 86_400_000_000
_FEW, _MANY = 20, 100


def _ping(_call: Call) -> object:
    return {}


def _time(call: Call) -> object:
    return {"serverTime": call.unit.stamp(call.exchange.server_time_us())}


def _exchange_info(call: Call) -> object:
    exchange, listing, wanted = call.exchange, call.exchange.listing, call.parameters.symbols()
    names = exchange.symbols() if wanted is None else [exchange.listed(symbol).symbol for symbol in wanted]
    symbols = [listing.entries[name] | {"status": exchange.status(name)} for name in names]
    if not call.parameters.boolean("showPermissionSets", default=True):
        symbols = [entry | {"permissionSets": []} for entry in symbols]
    return listing.exchange_info | {
        "serverTime": call.unit.stamp(exchange.server_time_us()),
        "symbols": symbols,
        "sors": _routes(exchange),
    }


def _routes(exchange: Exchange) -> list[dict[str, object]]:
    """What smart order routing connects."""
    groups = {tuple(exchange.listing.sor_symbols(symbol)) for symbol in exchange.symbols()}
    return [
        {"baseAsset": exchange.listing[group[0]].base, "symbols": list(group)}
        for group in sorted(groups)
        if len(group) > 1
    ]


def _of_symbols(call: Call, describe: Callable[[str], object]) -> object:
    """One object for `symbol`, a list for `symbols` and for neither."""
    wanted, exchange = call.parameters.symbols(), call.exchange
    names = exchange.symbols() if wanted is None else [exchange.listed(symbol).symbol for symbol in wanted]
    described = [describe(name) for name in names]
    return described[0] if "symbol" in call.parameters else described


def _ticker_price(call: Call) -> object:
    return _of_symbols(call, lambda symbol: {"symbol": symbol, "price": wire(call.exchange.last_price(symbol))})


def _book_ticker(call: Call) -> object:
    def describe(symbol: str) -> object:
        quote = call.exchange.quote(symbol)
        return {
            "symbol": symbol,
            "bidPrice": wire(quote.bid),
            "bidQty": wire(quote.bid_quantity),
            "askPrice": wire(quote.ask),
            "askQty": wire(quote.ask_quantity),
        }

    return _of_symbols(call, describe)


def _ticker_24h(call: Call) -> object:
    return _of_symbols(call, lambda symbol: _day_statistics(call, symbol))


def _day_statistics(call: Call, symbol: str) -> dict[str, object]:
    exchange = call.exchange
    close_us = exchange.now_us()
    open_us = close_us - _DAY_US
    day = exchange.market.candle(symbol, open_us, close_us)
    before = exchange.market.last_price(symbol, open_us)
    quote = exchange.quote(symbol)
    last_id = exchange.last_trade_id(symbol)
    change = day.close - day.open
    return {
        "symbol": symbol,
        "priceChange": wire(change),
        "priceChangePercent": f"{change / day.open * 100:.3f}",
        "weightedAvgPrice": wire(day.quote_quantity / day.quantity),
        "prevClosePrice": wire(before),
        "lastPrice": wire(day.close),
        "lastQty": wire(exchange.market.last_print(symbol, close_us).quantity),
        "bidPrice": wire(quote.bid),
        "bidQty": wire(quote.bid_quantity),
        "askPrice": wire(quote.ask),
        "askQty": wire(quote.ask_quantity),
        "openPrice": wire(day.open),
        "highPrice": wire(day.high),
        "lowPrice": wire(day.low),
        "volume": wire(day.quantity),
        "quoteVolume": wire(day.quote_quantity),
        "openTime": call.unit.stamp(open_us),
        "closeTime": call.unit.stamp(close_us),
        "firstId": last_id - day.trades + 1,
        "lastId": last_id,
        "count": day.trades,
    }


def _klines(call: Call) -> object:
    parameters = call.parameters
    symbol = call.symbol
    interval = parameters.required("interval")
    if interval not in INTERVALS:
        raise ExchangeError(Refusal.BAD_INTERVAL)
    limit = parameters.limit()
    now_us = call.exchange.now_us()
    start_us, end_us = parameters.time_us("startTime"), parameters.time_us("endTime")
    last_us = min(now_us, now_us if end_us is None else end_us)
    opens: list[int] = []
    if start_us is None:
        open_us = interval_start(interval, last_us)
        while len(opens) < limit and open_us >= 0:
            opens.append(open_us)
            open_us = interval_start(interval, open_us - 1)
        opens.reverse()
    else:
        open_us = interval_start(interval, start_us)
        # Binance counts a candle in when its open time is not before startTime.
        open_us = open_us if open_us == start_us else interval_end(interval, open_us)
        while len(opens) < limit and open_us <= last_us:
            opens.append(open_us)
            open_us = interval_end(interval, open_us)
    return [_kline(call, symbol, open_us, interval_end(interval, open_us), now_us) for open_us in opens]


def _kline(call: Call, symbol: str, open_us: int, next_us: int, now_us: int) -> list[object]:
    candle: Candle = call.exchange.market.candle(symbol, open_us, min(next_us, now_us + 1))
    prices: list[Decimal] = [candle.open, candle.high, candle.low, candle.close]
    return [
        call.unit.stamp(open_us),
        *map(wire, prices),
        wire(candle.quantity),
        call.unit.stamp(next_us - 1),
        wire(candle.quote_quantity),
        candle.trades,
        wire(candle.taker_buy_quantity),
        wire(candle.taker_buy_quote_quantity),
        "0",
    ]


def _one_or_all(one: int, every: int) -> Callable[[Parameters], int]:
    return lambda parameters: one if "symbol" in parameters else every


def _weight_of_days(parameters: Parameters) -> int:
    """2 for up to 20 symbols, 40 for up to 100, 80 for more and for all."""
    if "symbol" in parameters:
        return 2
    count = len(parameters.symbols() or ()) or _MANY + 1
    return 2 if count <= _FEW else 40 if count <= _MANY else 80


MARKET_ENDPOINTS = (
    Endpoint(_ping, "GET", "/api/v3/ping", 1, "ping"),
    Endpoint(_time, "GET", "/api/v3/time", 1, "time"),
    Endpoint(_exchange_info, "GET", "/api/v3/exchangeInfo", 20, "exchangeInfo"),
    Endpoint(_klines, "GET", "/api/v3/klines", 2, "klines"),
    Endpoint(_ticker_price, "GET", "/api/v3/ticker/price", _one_or_all(2, 4), "ticker.price"),
    Endpoint(_book_ticker, "GET", "/api/v3/ticker/bookTicker", _one_or_all(2, 4), "ticker.book"),
    Endpoint(
        _ticker_24h,
        "GET",
        "/api/v3/ticker/24hr",
        _weight_of_days,
        "ticker.24hr",
    ),
)
