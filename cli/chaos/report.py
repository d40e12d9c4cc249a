"""What a run came to."""

import msgspec


class FaultReport(msgspec.Struct, kw_only=True):
    """One fault as it happened."""

    kind: str
    target: str
    at_s: float
    """Seconds after trading began."""
    recovered_s: float | None = None
    """Seconds from the fault until its part did its work again; the time that the fault itself lasted is in it.

    None when that did not come to pass.
    """


class SkippedFault(msgspec.Struct, kw_only=True):
    """A fault that this machine does not allow."""

    kind: str
    target: str
    reason: str


class ChaosReport(msgspec.Struct, kw_only=True):
    """The report that `portfolio chaos --json` prints."""

    seed: int
    faults: list[FaultReport]
    skipped: list[SkippedFault]
    accounts: int
    fills: int
    """Fills on the exchange's books."""
    flows: int
    """Deposits, withdrawals and the like on the exchange's books, besides the first balances."""
    corrections: int
    """Trades cancelled, changed and restored, costs set and flows named by hand, on the log."""
    lost: int
    """Fills of the exchange that the log, its fold or Postgres does not have."""
    duplicated: int
    """Fills that one of them has more than once."""
    differences: list[str]
    """Everything that does not agree, in words."""
    longest_silence_s: float
    """The longest time without a record on `portfolio.pnl` while there was trading."""
    longest_account_silence_s: float
    """The longest time without one of some one account."""
    lasted_s: float
    """From the beginning of trading until all books agreed, or it was given up."""

    @property
    def agrees(self) -> bool:
        """Whether all books agree exactly, every fill is there once, a rebuild equals, and every part came back."""
        return not (self.lost or self.duplicated or self.differences)
