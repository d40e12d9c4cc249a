"""Symbols that nobody recorded: a market for any list of them, drawn by seed.

A symbol quoted in USDT walks at random, a few ticks a second, and comes back to where its loop began. Every other one
is the cross of its assets' USDT markets, so that prices agree wherever one looks. All of it is integer arithmetic on
ticks: the same seed gives the same market on every machine.
"""

import copy
import random
from decimal import Decimal
from typing import Any, NamedTuple

from infra.exchange.decimals import floor_to_step, plain, wire
from infra.exchange.recording import LOOP_US, Print, Quote, Tape, cross_tape
from infra.exchange.symbols import Listing

_SECOND_US = 1_000_000
_SECONDS = LOOP_US // _SECOND_US
_TRADES_PER_SECOND = 2
_FURTHEST_STEP_TICKS = 4
_WIDEST_SPREAD_TICKS = 3
# A price has five digits; its tick is from 1 to 0.00001 USDT, which makes it 0.1 to 99,999.
_LEAST_TICKS, _MOST_TICKS = 20_000, 90_000
_MOST_TICK_PLACES = 5
_LOT_PLACES_LESS = 6
_WORTH_ONE_USDT = {"USDC", "FDUSD"}
_STABLE_TICK_PLACES = 4
_SMALLEST_TICK = Decimal("0.00000001")
_PRICE_DIGITS = 5
_LEAST_TRADE_USDT, _MOST_TRADE_USDT = 20, 4000
_LEAST_QUOTED_USDT, _MOST_QUOTED_USDT = 500, 20_000
_LONGEST_LOT_LOTS, _LONGEST_MARKET_LOTS = 900_000_000, 9_000_000
# The least order, by quote asset, in that asset.
_LEAST_NOTIONAL = {
    "FDUSD": "5",
    "USDT": "5",
    "USDC": "5",
    "EUR": "5",
    "BTC": "0.0001",
    "ETH": "0.001",
    "BNB": "0.01",
}


class SymbolError(ValueError):
    """A symbol for which no market can be made; the message says why."""


class GeneratedMarket(NamedTuple):
    """Symbols, as `exchangeInfo` has them, and a tape for each."""

    entries: list[dict[str, Any]]
    tapes: dict[str, Tape]


def parse_symbols(text: str) -> tuple[str, ...]:
    """Read a list such as `SOLUSDT,ADAUSDT,SOLBTC`.

    Raises:
        SymbolError: One is not written as a symbol or has a quote asset that is not known.
    """
    symbols = tuple(dict.fromkeys(name.strip().upper() for name in text.split(",") if name.strip()))
    for symbol in symbols:
        split_symbol(symbol)
    return symbols


def split_symbol(symbol: str) -> tuple[str, str]:
    """Base and quote asset of a symbol.

    Raises:
        SymbolError: It has no known quote asset.
    """
    for quote in _LEAST_NOTIONAL:
        base = symbol.removesuffix(quote)
        if base != symbol and base.isalnum() and base.isascii():
            return base, quote
    raise SymbolError(f"{symbol} has no known quote asset: choose one of {', '.join(_LEAST_NOTIONAL)}")


def generate_market(symbols: tuple[str, ...], seed: int, recorded: dict[str, Tape]) -> GeneratedMarket:
    """Make a market for the symbols that are not recorded.

    Args:
        symbols: The symbols; those that are recorded are left out.
        seed: Draws prices and trades.
        recorded: The recorded tapes, for crosses with their assets.

    Raises:
        SymbolError: The USDT market of an asset is missing.
    """
    listing = Listing()
    market = GeneratedMarket([], {})
    wanted = [symbol for symbol in symbols if symbol not in recorded]
    for symbol in sorted(wanted, key=lambda symbol: split_symbol(symbol)[1] != "USDT"):
        if split_symbol(symbol)[1] == "USDT":
            entry, tape = _walk(symbol, seed, listing)
        else:
            entry, tape = _cross(symbol, recorded | market.tapes, listing)
        market.entries.append(entry)
        market.tapes[symbol] = tape
    return market


def _walk(symbol: str, seed: int, listing: Listing) -> tuple[dict[str, Any], Tape]:
    choices = random.Random(f"{seed} {symbol}")  # noqa: S311 - a repeatable market, not cryptography
    is_stable = split_symbol(symbol)[0] in _WORTH_ONE_USDT
    places = _STABLE_TICK_PLACES if is_stable else choices.randint(0, _MOST_TICK_PLACES)
    tick, step = Decimal(1).scaleb(-places), Decimal(1).scaleb(places - _LOT_PLACES_LESS)
    start = 10**_STABLE_TICK_PLACES if is_stable else choices.randint(_LEAST_TICKS, _MOST_TICKS)
    bids = _bridge(choices, start, 1 if is_stable else _FURTHEST_STEP_TICKS)
    quotes: list[Quote] = []
    prints: list[Print] = []

    def quantity(least_usdt: int, most_usdt: int, price: Decimal) -> Decimal:
        return max(floor_to_step(choices.randint(least_usdt, most_usdt) / price, step), step)

    for second, ticks in enumerate(bids):
        bid, ask = ticks * tick, (ticks + choices.randint(1, _WIDEST_SPREAD_TICKS)) * tick
        sizes = [quantity(_LEAST_QUOTED_USDT, _MOST_QUOTED_USDT, bid) for _ in range(2)]
        quotes.append(Quote(second * _SECOND_US, bid, sizes[0], ask, sizes[1]))
        for offset_us in sorted(choices.sample(range(1, _SECOND_US), _TRADES_PER_SECOND)):
            buyer_is_maker = choices.random() < 0.5  # noqa: PLR2004 - either side is as likely
            price = bid if buyer_is_maker else ask
            size = quantity(_LEAST_TRADE_USDT, _MOST_TRADE_USDT, price)
            prints.append(Print(second * _SECOND_US + offset_us, price, size, buyer_is_maker))
    return _entry(listing, symbol, tick, step), Tape(quotes, prints)


def _bridge(choices: random.Random, start: int, furthest_step: int) -> list[int]:
    """A random walk, in ticks, that ends where it began."""
    walk = [0]
    for _ in range(_SECONDS):
        walk.append(walk[-1] + choices.randint(-furthest_step, furthest_step))
    return [start + walk[second] - walk[-1] * second // _SECONDS for second in range(_SECONDS)]


def _cross(symbol: str, tapes: dict[str, Tape], listing: Listing) -> tuple[dict[str, Any], Tape]:
    base, quote = split_symbol(symbol)
    for asset in (base, quote):
        if f"{asset}USDT" not in tapes:
            raise SymbolError(f"{symbol} needs the price of {asset} in USDT: add {asset}USDT to the symbols")
    over, under = tapes[f"{base}USDT"], tapes[f"{quote}USDT"]
    price = over.quotes[0].bid / under.quotes[0].ask
    tick = max(Decimal(1).scaleb(price.adjusted() + 1 - _PRICE_DIGITS), _SMALLEST_TICK)
    step = min(each.quantity for each in over.prints).normalize()
    step = Decimal(1).scaleb(int(step.as_tuple().exponent))
    return _entry(listing, symbol, tick, step), cross_tape(over, under, tick)


def _entry(listing: Listing, symbol: str, tick: Decimal, step: Decimal) -> dict[str, Any]:
    """The symbol as BTCUSDT is listed, with filters that fit its price."""
    base, quote = split_symbol(symbol)
    entry: dict[str, Any] = copy.deepcopy(listing.entries["BTCUSDT"])
    entry |= {"symbol": symbol, "baseAsset": base, "quoteAsset": quote}
    filters = {each["filterType"]: each for each in entry["filters"]}
    filters["PRICE_FILTER"] |= {"minPrice": wire(tick), "tickSize": wire(tick)}
    filters["LOT_SIZE"] |= {"minQty": wire(step), "maxQty": wire(step * _LONGEST_LOT_LOTS), "stepSize": wire(step)}
    filters["MARKET_LOT_SIZE"]["maxQty"] = wire(step * _LONGEST_MARKET_LOTS)
    filters["NOTIONAL"]["minNotional"] = plain(Decimal(_LEAST_NOTIONAL[quote]))
    return entry
