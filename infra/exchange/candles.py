"""Candles: any range of trades of a looping tape, totalled without walking it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from infra.exchange.extremes import RangeExtremes
from infra.exchange.recording import Tape

_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
_DAY_US = 24 * _HOUR_US
# Weeks start on Monday; 1970-01-05 was the first one of the epoch.
_FIRST_MONDAY_US = 4 * _DAY_US
_INTERVALS_US = {
    "1s": 1_000_000,
    "1m": _MINUTE_US,
    "3m": 3 * _MINUTE_US,
    "5m": 5 * _MINUTE_US,
    "15m": 15 * _MINUTE_US,
    "30m": 30 * _MINUTE_US,
    "1h": _HOUR_US,
    "2h": 2 * _HOUR_US,
    "4h": 4 * _HOUR_US,
    "6h": 6 * _HOUR_US,
    "8h": 8 * _HOUR_US,
    "12h": 12 * _HOUR_US,
    "1d": _DAY_US,
    "3d": 3 * _DAY_US,
    "1w": 7 * _DAY_US,
}
INTERVALS = (*_INTERVALS_US, "1M")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def interval_start(interval: str, time_us: int) -> int:
    """The open time of the candle that holds a moment."""
    if interval == "1M":
        moment = _EPOCH + timedelta(microseconds=time_us)
        first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return int((first - _EPOCH) / timedelta(microseconds=1))
    origin = _FIRST_MONDAY_US if interval == "1w" else 0
    length = _INTERVALS_US[interval]
    return (time_us - origin) // length * length + origin


def interval_end(interval: str, open_time_us: int) -> int:
    """The open time of the candle after the one that opens at `open_time_us`."""
    if interval == "1M":
        return interval_start("1M", open_time_us + 32 * _DAY_US)
    return open_time_us + _INTERVALS_US[interval]


class Candle(NamedTuple):
    """Prices and amounts of a range of trades; flat at the previous price when there were none."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    trades: int
    taker_buy_quantity: Decimal
    taker_buy_quote_quantity: Decimal

    @classmethod
    def over(cls, tape: Tape, first: int, end: int) -> "Candle":
        """Total the trades number `first` up to, not including, `end`, counted over all loops."""
        size = len(tape.prints)
        if first == end:
            price, zero = tape.prints[(first - 1) % size].price, Decimal(0)
            return cls(price, price, price, price, zero, zero, 0, zero, zero)
        high, low = _extremes(tape.extremes, size, first, end)
        return cls(
            open=tape.prints[first % size].price,
            high=high,
            low=low,
            close=tape.prints[(end - 1) % size].price,
            quantity=_total(tape.quantity_before, first, end),
            quote_quantity=_total(tape.quote_before, first, end),
            trades=end - first,
            taker_buy_quantity=_total(tape.taker_quantity_before, first, end),
            taker_buy_quote_quantity=_total(tape.taker_quote_before, first, end),
        )


def _extremes(extremes: RangeExtremes, size: int, first: int, end: int) -> tuple[Decimal, Decimal]:
    if end - first >= size:
        return extremes.of(0, size)
    start, stop = first % size, (end - 1) % size + 1
    if start < stop:
        return extremes.of(start, stop)
    (high_tail, low_tail), (high_head, low_head) = extremes.of(start, size), extremes.of(0, stop)
    return max(high_tail, high_head), min(low_tail, low_head)


def _total(sums_before: list[Decimal], first: int, end: int) -> Decimal:
    size = len(sums_before) - 1
    (first_loop, first_index), (end_loop, end_index) = divmod(first, size), divmod(end, size)
    return (end_loop - first_loop) * sums_before[-1] + sums_before[end_index] - sums_before[first_index]
