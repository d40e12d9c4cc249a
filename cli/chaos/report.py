"""What a run came to."""

import msgspec


class FaultReport(msgspec.Struct, kw_only=True):
    """One fault as it happened."""

    kind: str
    target: str
    at_s: float
    """Seconds after trading began."""
    recovered_s: float | None = None
    """Seconds from the fault until its part was back, the API was ready, and new events came out as pnl again.

    None when that did not come to pass.
    """


class ChaosReport(msgspec.Struct, kw_only=True):
    """The report that `portfolio chaos --json` prints."""

    seed: int
    faults: list[FaultReport]
    fills: int
    """Fills on the exchange's books."""
    lost: int
    """Fills of the exchange that the log, its fold or Postgres does not have."""
    duplicated: int
    """Fills that one of them has more than once."""
    differences: list[str]
    """Everything that does not agree, in words."""
    longest_silence_s: float
    """The longest time without a record on `portfolio.pnl` while there was trading."""

    @property
    def agrees(self) -> bool:
        """Whether all books agree exactly, every fill is there once, and every part came back."""
        return not (self.lost or self.duplicated or self.differences)
