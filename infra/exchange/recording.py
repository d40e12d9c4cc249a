"""The recorded market: one loop of quotes and trades for every listed symbol.

BTCUSDT and ETHUSDT are recorded (`data/NOTICE.md` names the source). ETHBTC is derived from both, BNBUSDT is made:
its price never changes, so commissions in BNB and rates of BNB can be computed by hand.
"""

import gzip
from bisect import bisect_right
from decimal import Decimal
from functools import cache
from importlib import resources
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from infra.exchange.decimals import ceil_to_step, floor_to_step, truncate
from infra.exchange.extremes import RangeExtremes
from infra.exchange.symbols import Listing

BNB_PRICE = Decimal("512.30")
_BNB_BID, _BNB_ASK = Decimal("512.29"), Decimal("512.31")
_SECOND_US = 1_000_000
# The recording starts here (2024-08-08 23:54:14 UTC) and lasts 650.5 s; the loop closes on a whole second.
_START_US = 1_723_161_254_000_000
LOOP_US = 651 * _SECOND_US
# One of so many trades of ETHUSDT has a counterpart in ETHBTC, the thinner market.
_DERIVED_TRADE_EVERY = 10


class Quote(NamedTuple):
    """Best bid and ask, `offset_us` into the loop."""

    offset_us: int
    bid: Decimal
    bid_quantity: Decimal
    ask: Decimal
    ask_quantity: Decimal


class Print(NamedTuple):
    """A trade of other people, `offset_us` into the loop."""

    offset_us: int
    price: Decimal
    quantity: Decimal
    buyer_is_maker: bool


class Tape:
    """One loop of a symbol, with sums that make any range of trades quick to total."""

    def __init__(self, quotes: list[Quote], prints: list[Print]) -> None:
        self.quotes = quotes
        self.prints = prints
        self.extremes = RangeExtremes([each.price for each in prints])
        self._quote_offsets = [quote.offset_us for quote in quotes]
        self._print_offsets = [each.offset_us for each in prints]
        amounts = [(each, truncate(each.price * each.quantity)) for each in prints]
        zero = Decimal(0)
        self.quantity_before = [zero, *accumulate(each.quantity for each in prints)]
        self.quote_before = [zero, *accumulate(amount for _, amount in amounts)]
        self.taker_quantity_before = [
            zero,
            *accumulate(zero if each.buyer_is_maker else each.quantity for each in prints),
        ]
        self.taker_quote_before = [
            zero,
            *accumulate(zero if each.buyer_is_maker else amount for each, amount in amounts),
        ]

    def quotes_until(self, offset_us: int) -> int:
        """How many quotes of the loop are not later than `offset_us`."""
        return bisect_right(self._quote_offsets, offset_us)

    def prints_until(self, offset_us: int) -> int:
        """How many trades of the loop are not later than `offset_us`."""
        return bisect_right(self._print_offsets, offset_us)

    def average_top_quantity(self, step: Decimal) -> Decimal:
        """The mean of the sizes at the best bid and ask over the loop, on the lot step."""
        total = sum((quote.bid_quantity + quote.ask_quantity for quote in self.quotes), Decimal(0))
        return max(floor_to_step(total / (2 * len(self.quotes)), step), step)


@cache
def load_recording() -> dict[str, Tape]:
    """Read the recording and make the derived symbols, once a process.

    Returns:
        A tape for every listed symbol.
    """
    bitcoin, ether = _read("BTCUSDT"), _read("ETHUSDT")
    return {
        "BTCUSDT": bitcoin,
        "ETHUSDT": ether,
        "BNBUSDT": _constant_tape(),
        "ETHBTC": cross_tape(ether, bitcoin, Listing()["ETHBTC"].tick),
    }


def _read(symbol: str) -> Tape:
    quotes: list[Quote] = []
    prints: list[Print] = []
    packed = resources.files("infra.exchange").joinpath(f"data/{symbol}.csv.gz").read_bytes()
    for line in gzip.decompress(packed).decode().splitlines():
        kind, time_us, *values = line.split(",")
        offset_us = int(time_us) - _START_US
        if kind == "Q":
            quotes.append(Quote(offset_us, *map(Decimal, values)))
        else:
            prints.append(Print(offset_us, Decimal(values[0]), Decimal(values[1]), values[2] == "1"))
    return Tape(quotes, prints)


def _constant_tape() -> Tape:
    quotes: list[Quote] = []
    prints: list[Print] = []
    for second in range(LOOP_US // _SECOND_US):
        offset_us = second * _SECOND_US
        quotes.append(Quote(offset_us, _BNB_BID, Decimal(20 + second % 7), _BNB_ASK, Decimal(20 + second % 5)))
        prints.append(Print(offset_us, BNB_PRICE, Decimal(1 + second % 3) / 10, second % 2 == 0))
    return Tape(quotes, prints)


def cross_tape(base: Tape, quote: Tape, tick: Decimal) -> Tape:
    """The market of one asset in another, from the USDT markets of both.

    Its bid is the base's bid over the quote's ask, its ask the reverse, rounded away from each other to the tick.
    """
    moments = sorted({each.offset_us for each in (*base.quotes, *quote.quotes)})
    quotes: list[Quote] = []
    for offset_us in moments:
        over = base.quotes[base.quotes_until(offset_us) - 1]
        under = quote.quotes[quote.quotes_until(offset_us) - 1]
        bid = floor_to_step(over.bid / under.ask, tick)
        ask = max(ceil_to_step(over.ask / under.bid, tick), bid + tick)
        if not quotes or (bid, ask) != (quotes[-1].bid, quotes[-1].ask):
            quotes.append(Quote(offset_us, bid, over.bid_quantity, ask, over.ask_quantity))
    cross = Tape(quotes, [])
    prints: list[Print] = []
    for each in base.prints[::_DERIVED_TRADE_EVERY]:
        best = quotes[cross.quotes_until(each.offset_us) - 1]
        prints.append(each._replace(price=best.bid if each.buyer_is_maker else best.ask))
    return Tape(quotes, sorted(prints, key=itemgetter(0)))
