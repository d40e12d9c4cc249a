"""Binance's times: milliseconds by default, microseconds where they were asked for."""

_MICROSECONDS_FROM = 100_000_000_000_000
"""In milliseconds this is the year 5138, in microseconds 1973: between them, the unit is never in doubt."""


def epoch_us(time_on_wire: int) -> int:
    """A time of the wire as epoch microseconds, whichever of its two units it came in."""
    return time_on_wire if time_on_wire >= _MICROSECONDS_FROM else time_on_wire * 1_000


def milliseconds(time_us: int) -> int:
    """Epoch milliseconds: the unit in which times of REST and of the streams can be compared."""
    return time_us // 1_000
