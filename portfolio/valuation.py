"""What a book is worth at given marks.

Equity is the sum of quantity times mark. Unrealized is that value less the cost basis. With the ledger's invariant
(costs = net flows + realized) it follows, exactly, that equity = net flows + realized + unrealized;
`Valuation.identity_error` is the difference, computed from independent sums, and is always zero.
"""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from portfolio.book import Book
from portfolio.money import ZERO, exact_arithmetic
from portfolio.positions import Holding


class HoldingValue(msgspec.Struct, frozen=True, kw_only=True):
    """One holding at its mark; money in the reporting currency."""

    asset: str
    quantity: Decimal
    cost: Decimal
    average_cost: Decimal | None
    mark: Decimal | None
    """None when no price was ever seen; the holding is then valued at its cost."""
    value: Decimal
    unrealized: Decimal


class AccountValue(msgspec.Struct, frozen=True, kw_only=True):
    """An account at given marks; money in the reporting currency."""

    equity: Decimal
    net_flows: Decimal
    realized: Decimal
    unrealized: Decimal
    fees: Decimal
    holdings: tuple[HoldingValue, ...]

    @property
    def total_pnl(self) -> Decimal:
        """Realized and unrealized together."""
        with exact_arithmetic():
            return self.realized + self.unrealized

    @property
    def identity_error(self) -> Decimal:
        """`equity - (net_flows + realized + unrealized)`: zero, always."""
        with exact_arithmetic():
            return self.equity - (self.net_flows + self.realized + self.unrealized)


def value_book(book: Book, marks: Mapping[str, Decimal] | None = None) -> AccountValue:
    """Value every holding.

    Args:
        book: The book.
        marks: Asset to price in the reporting currency, before the book's own last known prices.
    """
    with exact_arithmetic():
        holdings = tuple(
            _value_holding(asset, holding, _mark(book, asset, marks or {})) for asset, holding in book.holdings.items()
        )
        return AccountValue(
            equity=sum((line.value for line in holdings), ZERO),
            net_flows=book.net_flows,
            realized=book.realized,
            unrealized=sum((line.unrealized for line in holdings), ZERO),
            fees=book.fees,
            holdings=holdings,
        )


def _mark(book: Book, asset: str, marks: Mapping[str, Decimal]) -> Decimal | None:
    if asset in marks and asset != book.reporting:
        return marks[asset]
    return book.rate(asset)


def _value_holding(asset: str, holding: Holding, mark: Decimal | None) -> HoldingValue:
    value = holding.cost if mark is None else holding.quantity * mark
    return HoldingValue(
        asset=asset,
        quantity=holding.quantity,
        cost=holding.cost,
        average_cost=holding.average_cost,
        mark=mark,
        value=value,
        unrealized=value - holding.cost,
    )
