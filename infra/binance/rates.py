"""What one unit of an asset is worth in the reporting currency, along the best path of traded pairs."""

import heapq
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from infra.binance.catalogue import Catalogue, Instrument
from portfolio.money import ONE, ZERO, exact_arithmetic, ratio
from portfolio.reconciliation import EARN_PREFIX

_BRIDGES = ("USDT", "USDC", "FDUSD", "BTC", "ETH", "BNB", "EUR")
"""Assets with the deepest markets: between paths of the same length, the one over the first of these wins."""

_HALTED_COST = 100
"""A pair that no longer trades has an old price: any path without one is better."""


class Conversion(NamedTuple):
    """One step of a path: through a symbol's price, or through its inverse."""

    symbol: str
    is_inverse: bool


PriceOf = Callable[[str], Decimal | None]
"""The price of a symbol, None where it is not known."""


class RateGraph:
    """The best path from every asset to the reporting currency.

    The best path has the fewest pairs, all of them trading if there is such a path, over the deepest markets.
    """

    def __init__(self, catalogue: Catalogue, reporting: str) -> None:
        """Find all paths.

        Args:
            catalogue: The instruments of the exchange; when it changes, the paths are found anew.
            reporting: The currency that every path ends in.
        """
        self.reporting = reporting
        self._catalogue = catalogue
        self._version = catalogue.version
        self._paths = _best_paths(catalogue, reporting)

    def path(self, asset: str) -> tuple[Conversion, ...] | None:
        """The pairs from the asset to the reporting currency; empty for the currency itself, None without a path.

        An asset locked in Simple Earn (`LDBTC`) takes the path of its twin.
        """
        if self._version != self._catalogue.version:
            self._version = self._catalogue.version
            self._paths = _best_paths(self._catalogue, self.reporting)
        known = self._paths.get(asset)
        if known is None and asset.startswith(EARN_PREFIX):
            return self._paths.get(asset.removeprefix(EARN_PREFIX))
        return known

    def symbols(self, asset: str) -> tuple[str, ...]:
        """The symbols whose prices the asset's rate needs."""
        return tuple(step.symbol for step in self.path(asset) or ())

    def halted(self, asset: str) -> tuple[str, ...]:
        """The symbols on the asset's path that do not trade: their prices, and so its rate, do not move."""
        return tuple(symbol for symbol in self.symbols(asset) if not self._catalogue.instrument(symbol).is_trading)

    def rate(self, asset: str, price_of: PriceOf) -> Decimal | None:
        """The price of one unit of the asset in the reporting currency.

        It is rounded once, at the end, to 18 places, and only where a path has more than one pair or an inverse one.

        Returns:
            None without a path, or while a price on it is unknown or zero.
        """
        path = self.path(asset)
        if path is None:
            return None
        multiplied, divided = ONE, ONE
        with exact_arithmetic():
            for step in path:
                price = price_of(step.symbol)
                if price is None or price <= ZERO:
                    return None
                if step.is_inverse:
                    divided *= price
                else:
                    multiplied *= price
            return multiplied if len(path) <= 1 and divided == ONE else ratio(multiplied, divided)


def _best_paths(catalogue: Catalogue, reporting: str) -> dict[str, tuple[Conversion, ...]]:
    """Dijkstra's algorithm, outwards from the reporting currency."""
    pairs: dict[str, list[Instrument]] = {}
    for instrument in catalogue:
        pairs.setdefault(instrument.base, []).append(instrument)
        pairs.setdefault(instrument.quote, []).append(instrument)
    paths: dict[str, tuple[Conversion, ...]] = {}
    waiting: list[tuple[int, tuple[int, ...], str, tuple[Conversion, ...]]] = [(0, (), reporting, ())]
    while waiting:
        cost, bridges, asset, path = heapq.heappop(waiting)
        if asset in paths:
            continue
        paths[asset] = path
        for instrument in pairs.get(asset, ()):
            is_inverse = instrument.base == asset
            other = instrument.quote if is_inverse else instrument.base
            if other not in paths:
                step = Conversion(instrument.symbol, is_inverse)
                further = cost + (1 if instrument.is_trading else _HALTED_COST)
                heapq.heappush(waiting, (further, (*bridges, _bridge_rank(asset)), other, (step, *path)))
    return paths


def _bridge_rank(asset: str) -> int:
    return _BRIDGES.index(asset) if asset in _BRIDGES else len(_BRIDGES)
