"""What can go wrong in the core.

PortfolioError
├── InvalidAmount     a number that cannot be money: not finite, too large, too fine
├── InvalidEvent      an event that contradicts itself or the book
│   ├── MissingRate   an event that cannot be valued in the reporting currency
│   └── NeedsHistory  a correction of what was booked before: the history is to be folded anew
├── InvalidBook       bytes that are not a book
└── InvalidRule       a rule for alerts that contradicts itself
"""


class PortfolioError(Exception):
    """Base of every error that the core raises on purpose."""


class InvalidAmount(PortfolioError, ValueError):
    """A number that cannot be an amount, a price or a rate."""


class InvalidEvent(PortfolioError, ValueError):
    """An event that contradicts itself or the book it is applied to.

    Attributes:
        index: Which of the folded events it is, counted from 0; None before it was folded.
    """

    index: int | None = None


class MissingRate(InvalidEvent):
    """An event that needs a rate to the reporting currency which neither it nor the book has.

    Attributes:
        asset: The asset whose rate is missing.
    """

    def __init__(self, asset: str, reporting: str, what: str) -> None:
        super().__init__(f'{what} cannot be valued: add "rates": {{"{asset}": <price of 1 {asset} in {reporting}>}}')
        self.asset = asset


class NeedsHistory(InvalidEvent):
    """A trade correction that a book alone cannot take: the account's history is to be folded anew with it.

    Attributes:
        correction_id: The correction.
    """

    def __init__(self, correction_id: str) -> None:
        super().__init__(
            f"trade correction {correction_id} changes what was booked before; "
            "fold the whole history again with portfolio.refold"
        )
        self.correction_id = correction_id


class InvalidBook(PortfolioError, ValueError):
    """Bytes that do not decode to a book."""


class InvalidRule(PortfolioError, ValueError):
    """A rule for alerts that contradicts itself or says what no rule can say."""
