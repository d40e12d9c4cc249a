"""The records that come at regular times, whether or not anything happened."""

from typing import Literal

import msgspec

from portfolio.performance import Performance
from portfolio.snapshots import PositionSnapshot
from streams.records import Codec


class OpenPositions(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.open-positions`: all open positions of an account, valued. A position that is missing is not open.

    Attributes:
        account: Name of the account, which is also the key.
        reporting: Currency of all values.
        time_us: When it was told; epoch microseconds.
        valued_time_us: Time of the newest marks; zero: there were none yet, and the book's own prices count.
        sequence: The number of the last event in the account's book.
        positions: The open positions.
    """

    schema: Literal["open-positions"] = "open-positions"
    version: int = 1
    account: str
    reporting: str
    time_us: int
    valued_time_us: int
    sequence: int
    positions: tuple[PositionSnapshot, ...]


class PerformanceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.performance`: what an account earned in each period, and at what risk.

    Attributes:
        account: Name of the account, which is also the key.
        reporting: Currency of all amounts.
        time_us: When it was computed; epoch microseconds.
        sequence: The number of the last event that it contains.
        periods: Name of a period (`24h`, `7d`, `30d`, ...) to its figures.
    """

    schema: Literal["performance"] = "performance"
    version: int = 1
    account: str
    reporting: str
    time_us: int
    sequence: int
    periods: dict[str, Performance]


open_positions = Codec(OpenPositions)
performance_records = Codec(PerformanceRecord)
