"""Reporting periods, told apart from any clock: the caller says what time it is."""

import re
from datetime import UTC, datetime, timedelta

PERIODS = ("24h", "7d", "30d", "90d", "1y", "ytd", "all")
"""The periods that are offered; any number of hours, days, weeks or years (of 365 days) is understood."""

PERIOD_PATTERN = r"^(all|ytd|[1-9][0-9]{0,3}[hdwy])$"
"""What is understood, as a regular expression."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOUR_US = 3_600_000_000
_UNITS_US = {"h": _HOUR_US, "d": 24 * _HOUR_US, "w": 7 * 24 * _HOUR_US, "y": 365 * 24 * _HOUR_US}
_LENGTH = re.compile(r"([1-9][0-9]{0,3})([hdwy])", re.ASCII)


def period_start_time_us(period: str, now_time_us: int) -> int:
    """Return when a period that ends now began.

    Args:
        period: `24h`, `7d`, `30d`, `1y`, ...: that long ago; `ytd`: the start of this UTC year; `all`: the epoch.
        now_time_us: The end of the period, epoch microseconds.

    Returns:
        Epoch microseconds, never before the epoch.

    Raises:
        ValueError: The period is not one of these.
    """
    if period == "all":
        return 0
    if period == "ytd":
        now = _EPOCH + timedelta(microseconds=now_time_us)
        return (datetime(now.year, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
    if (length := _LENGTH.fullmatch(period)) is None:
        raise ValueError(f"period {period!r} is not known; use one of {', '.join(PERIODS)}")
    return max(0, now_time_us - int(length[1]) * _UNITS_US[length[2]])
