"""The market as a function of the wall clock.

The recorded loop repeats for ever, before the exchange was started and after, `speed` times as fast as it was
recorded. What the market is at a moment depends on the moment, the speed and the seed alone: a restart goes on as if
nothing had happened, and a candle of any past time shows the trades that this function had then.
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from heapq import merge
from typing import NamedTuple

from infra.exchange.candles import Candle
from infra.exchange.recording import LOOP_US, Print, Quote, Tape

# Loop number zero starts at 2024-01-01 00:00:00 UTC.
_EPOCH_US = 1_704_067_200_000_000
_SEED_SHIFT_US = 97_000_000


def parse_speed(text: str) -> Fraction:
    """Read a speed such as `10` or `0.5`.

    Raises:
        ValueError: It is no number from 0.1 to 100.
    """
    try:
        speed = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"speed {text!r} is not a number: choose 0.1 to 100") from None
    if not Fraction(1, 10) <= speed <= 100:  # noqa: PLR2004 - the documented range
        raise ValueError(f"speed {text} is out of range: choose 0.1 to 100")
    return speed


class MarketEvent(NamedTuple):
    """A quote or a trade of the market, at the wall-clock time at which it happens; `number` counts per symbol."""

    time_us: int
    symbol: str
    item: Quote | Print
    number: int


class Market:
    """Replays the tapes.

    Args:
        tapes: One loop for each symbol.
        speed: How much faster than recorded, 0.1 to 100.
        seed: Shifts where in the loop the market is.
    """

    def __init__(self, tapes: dict[str, Tape], speed: Fraction = Fraction(1), seed: int = 0) -> None:
        self.tapes = dict(tapes)
        self._speed = speed
        self._shift_us = seed * _SEED_SHIFT_US % LOOP_US

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol that has a tape."""
        return tuple(self.tapes)

    def add(self, tapes: dict[str, Tape]) -> None:
        """More symbols; their market has always been there."""
        self.tapes.update(tapes)

    def events(self, after_us: int, until_us: int) -> Iterator[MarketEvent]:
        """Everything that happens after one moment, up to and including another, in order of time."""
        streams = [stream for symbol in self.symbols for stream in self._streams(symbol, after_us, until_us)]
        return merge(*streams, key=lambda event: event.time_us)

    def quote(self, symbol: str, time_us: int) -> Quote:
        """The best bid and ask at a moment."""
        tape = self.tapes[symbol]
        return tape.quotes[(self._quotes_until(symbol, time_us) - 1) % len(tape.quotes)]

    def last_print(self, symbol: str, time_us: int) -> Print:
        """The last trade of the market at a moment."""
        tape = self.tapes[symbol]
        return tape.prints[(self.prints_until(symbol, time_us) - 1) % len(tape.prints)]

    def last_price(self, symbol: str, time_us: int) -> Decimal:
        """The price of the last trade of the market at a moment."""
        return self.last_print(symbol, time_us).price

    def prints_until(self, symbol: str, time_us: int) -> int:
        """How many trades the market has had since loop zero, up to and including a moment."""
        loop, offset_us = self._position(time_us)
        tape = self.tapes[symbol]
        return loop * len(tape.prints) + tape.prints_until(offset_us)

    def candle(self, symbol: str, open_time_us: int, close_time_us: int) -> Candle:
        """The trades of a symbol from `open_time_us` up to, not including, `close_time_us`."""
        first, end = self.prints_until(symbol, open_time_us - 1), self.prints_until(symbol, close_time_us - 1)
        return Candle.over(self.tapes[symbol], first, end)

    def _quotes_until(self, symbol: str, time_us: int) -> int:
        loop, offset_us = self._position(time_us)
        tape = self.tapes[symbol]
        return loop * len(tape.quotes) + tape.quotes_until(offset_us)

    def _streams(self, symbol: str, after_us: int, until_us: int) -> Iterator[Iterator[MarketEvent]]:
        tape = self.tapes[symbol]
        quotes = range(self._quotes_until(symbol, after_us), self._quotes_until(symbol, until_us))
        prints = range(self.prints_until(symbol, after_us), self.prints_until(symbol, until_us))
        yield self._occurrences(symbol, tape.quotes, quotes)
        yield self._occurrences(symbol, tape.prints, prints)

    def _occurrences(self, symbol: str, items: list[Quote] | list[Print], numbers: range) -> Iterator[MarketEvent]:
        for number in numbers:
            loop, index = divmod(number, len(items))
            item = items[index]
            yield MarketEvent(self._time(loop, item.offset_us), symbol, item, number + 1)

    def _position(self, time_us: int) -> tuple[int, int]:
        elapsed = (time_us - _EPOCH_US) * self._speed.numerator // self._speed.denominator
        return divmod(elapsed + self._shift_us, LOOP_US)

    def _time(self, loop: int, offset_us: int) -> int:
        elapsed = loop * LOOP_US + offset_us - self._shift_us
        return _EPOCH_US - (-elapsed * self._speed.denominator // self._speed.numerator)
