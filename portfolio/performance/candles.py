"""Candles of a value that always exists, such as equity or pnl: it keeps its value until the next point."""

import itertools
from collections.abc import Sequence
from decimal import Decimal

import msgspec

_MINUTE_US = 60_000_000
TIMEFRAMES_US = {
    "1m": _MINUTE_US,
    "5m": 5 * _MINUTE_US,
    "15m": 15 * _MINUTE_US,
    "1h": 60 * _MINUTE_US,
    "4h": 240 * _MINUTE_US,
    "1d": 1440 * _MINUTE_US,
}
"""Lengths of the timeframes; all divide the day, so candles are aligned to UTC."""

CANDLES_MAX = 100_000


class Candle(msgspec.Struct, frozen=True, kw_only=True):
    """How a value moved within one bucket of time.

    Attributes:
        open_time_us: Start of the bucket, epoch microseconds.
        open: Value at the start of the bucket: carried from the candle before, unless a point is exactly there. The
            first candle opens with the first point.
        high: Highest value within the bucket, the open included.
        low: Lowest value within the bucket, the open included.
        close: Value at the end of the bucket.
        points: Points in the bucket; 0 means that the value was carried through it.
    """

    open_time_us: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    points: int


def candles(points: Sequence[tuple[int, Decimal]], timeframe: str) -> list[Candle]:
    """Gather points into candles, one for each bucket from the first point to the last, without gaps.

    Args:
        points: (epoch microseconds, value) in order of time.
        timeframe: 1m, 5m, 15m, 1h, 4h or 1d.

    Raises:
        ValueError: The timeframe is not known, the points are not in order, or there would be over 100,000 candles.
    """
    if (length_us := TIMEFRAMES_US.get(timeframe)) is None:
        raise ValueError(f"timeframe {timeframe!r} is not known; use one of {', '.join(TIMEFRAMES_US)}")
    if not points:
        return []
    for (before_us, _), (after_us, _) in itertools.pairwise(points):
        if after_us < before_us:
            raise ValueError(f"points are not in order of time: {after_us} follows {before_us}")
    if (points[-1][0] - points[0][0]) // length_us >= CANDLES_MAX:
        raise ValueError(f"more than {CANDLES_MAX} candles of {timeframe}; use a longer timeframe or a shorter period")
    inside: dict[int, list[tuple[int, Decimal]]] = {}
    for point in points:
        inside.setdefault(point[0] // length_us * length_us, []).append(point)
    built: list[Candle] = []
    carried = points[0][1]
    for open_time_us in range(min(inside), max(inside) + 1, length_us):
        candle = _candle(open_time_us, carried, inside.get(open_time_us, []))
        built.append(candle)
        carried = candle.close
    return built


def _candle(open_time_us: int, carried: Decimal, points: Sequence[tuple[int, Decimal]]) -> Candle:
    at_the_start = bool(points) and points[0][0] == open_time_us
    values = [value for _, value in points] if at_the_start else [carried, *(value for _, value in points)]
    return Candle(
        open_time_us=open_time_us,
        open=values[0],
        high=max(values),
        low=min(values),
        close=values[-1],
        points=len(points),
    )
