"""What a run came to."""

import msgspec


class WeightReport(msgspec.Struct, kw_only=True):
    """The request weight that an address used, as the exchange counted it."""

    limit: int
    most_used: int
    """In any one minute."""
    refused: dict[str, int]
    """How often it was answered 429 or 418 for using too much; faults that only look so do not count."""

    @property
    def is_within(self) -> bool:
        """Whether the limit was never passed."""
        return self.most_used <= self.limit and not self.refused


class StormReport(msgspec.Struct, kw_only=True):
    """The report that `portfolio storm --json` prints."""

    seed: int
    symbols: int
    accounts: int
    faults: dict[str, int]
    """How many of each kind were planned."""
    struck: dict[str, int]
    """How many messages, requests and connections they struck, by kind."""
    fills: int
    """On the exchange's books."""
    flows: int
    """Deposits, conversions and so on, on the exchange's books since the storm began."""
    lost: int
    """Fills of the exchange that the log does not have."""
    duplicated: int
    """Fills that the log has more than once, or that the exchange does not have."""
    disordered: int
    """Fills that stand before one of the same symbol with a lower id."""
    differences: list[str]
    """Everything else that does not agree, in words."""
    weight: dict[str, WeightReport]
    """By address; `/sapi` by address or account, and path."""
    lasted_s: float
    """From the first fill to the last."""
    settled_s: float
    """From then until all agreed, or until it was given up."""

    @property
    def agrees(self) -> bool:
        """Whether every fill is there once and in order, everything adds up, and no limit was passed."""
        return not (self.lost or self.duplicated or self.disordered or self.differences)
