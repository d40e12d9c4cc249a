"""What an event needs besides what the exchange said: rates to the reporting currency, and the dust limit."""

import logging
from collections.abc import Collection, Iterable
from decimal import Decimal

from msgspec.structs import replace

from infra.binance.catalogue import Catalogue
from infra.binance.prices import MINUTE_MS, LivePrices, PriceHistory
from infra.binance.rates import RateGraph
from infra.binance.rest import BinanceRest
from portfolio.events import Fill, Flow, ValuationPoint
from portfolio.money import ONE, ZERO

log = logging.getLogger(__name__)

_LIVE_AGE_MAX_US = 60_000_000
"""An event that is no older than this is valued at the live price, an older one at the price of its minute."""


class Enricher:
    """Adds rates and dust limits to events, at each event's own time.

    Attributes:
        graph: The paths from assets to the reporting currency.
    """

    def __init__(
        self,
        *,
        reporting: str,
        catalogue: Catalogue,
        live: LivePrices,
        rest: BinanceRest,
        benchmarks: Collection[str] = (),
    ) -> None:
        """Prepare for one catalogue.

        Args:
            reporting: The currency of all rates.
            catalogue: The instruments of the exchange.
            live: Latest prices, kept up to date by others.
            rest: Where past prices are read.
            benchmarks: Assets whose rate every valuation point carries, also while nobody holds them.
        """
        self.graph = RateGraph(catalogue, reporting)
        self._catalogue = catalogue
        self._live = live
        self._rest = rest
        self._history = PriceHistory(rest)
        self._unpriced: set[str] = set()
        self._benchmarks = frozenset(benchmarks)

    async def fill(self, fill: Fill) -> Fill:
        """The fill with the rates that it needs and the dust limit at its price."""
        assets = assets_to_rate(fill, self.graph.reporting)
        rates = {asset: await self.rate(asset, fill.time_us) for asset in assets}
        dust_limit = self._catalogue.instrument(fill.symbol).dust_limit(fill.price)
        return replace(fill, rates=rates, dust_limit=dust_limit)

    async def flow(self, flow: Flow) -> Flow:
        """The flow with the rate of its asset."""
        if flow.asset == self.graph.reporting:
            return flow
        return replace(flow, rates={flow.asset: await self.rate(flow.asset, flow.time_us)})

    async def valuation(self, assets: Iterable[str], time_us: int, candle_ms: int = MINUTE_MS) -> ValuationPoint:
        """The rates of assets, and of the benchmarks, at a moment; one without a price keeps its last in the ledger."""
        rates: dict[str, Decimal] = {}
        for asset in sorted(self._benchmarks.union(assets)):
            if asset != self.graph.reporting:
                rate = await self._known_rate(asset, time_us, candle_ms)
                if rate is not None:
                    rates[asset] = rate
        return ValuationPoint(time_us=time_us, rates=rates)

    async def rate(self, asset: str, time_us: int) -> Decimal:
        """The price of one unit in the reporting currency at a moment; zero, with a warning, where there is none."""
        rate = await self._known_rate(asset, time_us, MINUTE_MS)
        if rate is not None:
            return rate
        if asset not in self._unpriced:
            self._unpriced.add(asset)
            log.warning("no market leads from %s to %s: it is valued at zero", asset, self.graph.reporting)
        return ZERO

    def live_rate(self, asset: str) -> Decimal | None:
        """The latest price of one unit in the reporting currency."""
        return self.graph.rate(asset, self._live.get)

    async def _known_rate(self, asset: str, time_us: int, candle_ms: int) -> Decimal | None:
        if asset == self.graph.reporting:
            return ONE
        is_recent = self._rest.exchange_time_us() - time_us <= _LIVE_AGE_MAX_US
        if is_recent and (live := self.live_rate(asset)) is not None:
            return live
        prices = {symbol: await self._history.price(symbol, time_us, candle_ms) for symbol in self.graph.symbols(asset)}
        past = self.graph.rate(asset, prices.get)
        return self.live_rate(asset) if past is None else past


def assets_to_rate(fill: Fill, reporting: str) -> tuple[str, ...]:
    """The assets whose rates a fill must carry, because neither of its sides is enough to price them."""
    prices_itself = reporting in {fill.base, fill.quote}
    assets = () if prices_itself else (fill.quote,)
    is_fee_priced = fill.fee_asset in {"", reporting, fill.base, fill.quote}
    return assets if is_fee_priced else (*assets, fill.fee_asset)
