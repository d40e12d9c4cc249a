"""Spans of time as people write them in a file: `90s`, `5m`, `24h`, `7d`."""

import re

from portfolio.errors import InvalidRule

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

_UNITS_US = {"s": SECOND_US, "m": 60 * SECOND_US, "h": 3_600 * SECOND_US, "d": DAY_US}
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_DAYS_MAX = 366


def duration_us(text: str) -> int:
    """The span in microseconds.

    Raises:
        InvalidRule: It is none, or longer than a year.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise InvalidRule(f"{text!r} is no span of time; write it as 90s, 5m, 24h or 7d")
    span_us = int(found[1]) * _UNITS_US[found[2]]
    if span_us > _DAYS_MAX * DAY_US:
        raise InvalidRule(f"{text} is longer than a year")
    return span_us


def shown_duration(span_us: int) -> str:
    """The span in its largest unit that it is two of, for a person."""
    for unit, length_us in (("days", DAY_US), ("h", _UNITS_US["h"]), ("min", _UNITS_US["m"])):
        if span_us >= 2 * length_us:
            return f"{span_us // length_us} {unit}"
    return f"{span_us // SECOND_US} s"
