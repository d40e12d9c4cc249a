"""How far a reader is behind what it reads."""

from collections.abc import Collection
from typing import NamedTuple


class Lag(NamedTuple):
    """How far behind.

    Attributes:
        records: How many records are waiting.
        seconds: For how long the oldest of them has been waiting, at most, as far as that is known.
    """

    records: int
    seconds: float


class LagMeter:
    """Measures the lag of each partition of one topic, from what was dealt with and where the topic ends."""

    def __init__(self) -> None:
        self._next_offset: dict[int, int] = {}
        self._not_before_s: dict[int, float] = {}

    @property
    def partitions(self) -> Collection[int]:
        """The partitions that are known."""
        return self._next_offset.keys()

    def begin(self, partition: int, next_offset: int) -> None:
        """Note where reading begins."""
        self.forget(partition)
        self._next_offset[partition] = next_offset

    def note(self, partition: int, next_offset: int, time_s: float) -> None:
        """Note what was dealt with last.

        Args:
            partition: Of which partition.
            next_offset: The offset of the record after it.
            time_s: When the record was appended; epoch seconds.
        """
        self._next_offset[partition] = next_offset
        self._not_before_s[partition] = max(time_s, self._not_before_s.get(partition, 0.0))

    def forget(self, partition: int) -> None:
        """A partition is somebody else's now."""
        self._next_offset.pop(partition, None)
        self._not_before_s.pop(partition, None)

    def measure(self, partition: int, end_offset: int, now_s: float) -> Lag:
        """The lag of a partition.

        What waits was appended after the record that was dealt with last, and after the last moment at which nothing
        waited. Where neither is known, it counts from the first look.

        Args:
            partition: The partition, which has begun.
            end_offset: The offset that the next record will have.
            now_s: The time; epoch seconds.
        """
        records = max(0, end_offset - self._next_offset[partition])
        if records == 0:
            self._not_before_s[partition] = now_s
            return Lag(0, 0.0)
        return Lag(records, max(0.0, now_s - self._not_before_s.setdefault(partition, now_s)))
