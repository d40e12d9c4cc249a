"""The order book that a taker meets.

The recording has the best bid and ask with their sizes. Deeper levels are made by rule: ten ticks apart, each with
the symbol's average size at the top, times one, two or three. What a taker took is gone until the next quote.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from infra.exchange.decimals import ZERO, floor_to_step
from infra.exchange.recording import Quote
from infra.exchange.records import Side
from infra.exchange.symbols import SymbolRules

_LEVELS = 50
_TICKS_BETWEEN_LEVELS = 10


class Take(NamedTuple):
    """So much at one price."""

    price: Decimal
    quantity: Decimal


class Book:
    """Both sides of a symbol's book, as of the last quote.

    Args:
        rules: The symbol.
        quote: The best bid and ask.
        usual_quantity: The average size at the top, for the levels that were not recorded.
    """

    def __init__(self, rules: SymbolRules, quote: Quote, usual_quantity: Decimal) -> None:
        self._rules = rules
        self._usual_quantity = usual_quantity
        self._taken: dict[Decimal, Decimal] = {}
        self.quote = quote

    def update(self, quote: Quote) -> None:
        """A new quote stands; what takers took before is forgotten."""
        self.quote = quote
        self._taken.clear()

    def take(self, price: Decimal, quantity: Decimal) -> None:
        """Remember what a taker took."""
        self._taken[price] = self._taken.get(price, ZERO) + quantity

    def levels(self, side: Side) -> Iterator[Take]:
        """What a taker of a side meets, best price first."""
        for price, quantity in self._all_levels(side):
            available = floor_to_step(quantity - self._taken.get(price, ZERO), self._rules.step)
            if available > ZERO:
                yield Take(price, available)

    def _all_levels(self, side: Side) -> Iterator[Take]:
        quote = self.quote
        buys = side is Side.BUY
        best, quantity = (quote.ask, quote.ask_quantity) if buys else (quote.bid, quote.bid_quantity)
        yield Take(best, quantity)
        apart = self._rules.tick * _TICKS_BETWEEN_LEVELS
        for level in range(1, _LEVELS):
            price = best + apart * level if buys else best - apart * level
            if price < self._rules.minimum_price:
                return
            yield Take(price, self._usual_quantity * (1 + level % 3))
