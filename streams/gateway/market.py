"""What the accounts of one exchange share: its catalogue, its prices, and the rates that follow from them."""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable

from infra.binance.catalogue import Catalogue
from infra.binance.errors import MalformedEvent, RequestRefused
from infra.binance.prices import LivePrices
from infra.binance.rest import BinanceRest
from infra.binance.times import epoch_us
from streams.gateway.enrich import Enricher

log = logging.getLogger(__name__)

_CATALOGUE_AGE_MAX_S = 30.0


class SharedMarket:
    """The market of one exchange, read once for all accounts.

    Attributes:
        rest: A client for what needs no key.
        prices: The latest price of every symbol.
    """

    def __init__(self, rest: BinanceRest, benchmarks: Collection[str] = ()) -> None:
        """Prepare; nothing is read yet.

        Args:
            rest: A client for what needs no key.
            benchmarks: Assets whose rate every valuation point carries, also while nobody holds them.
        """
        self.rest = rest
        self._benchmarks = benchmarks
        self.prices = LivePrices(rest.exchange_time_us)
        self._catalogue: Catalogue | None = None
        self._read_s = 0.0
        self._enrichers: dict[str, Enricher] = {}
        self._lock = asyncio.Lock()

    async def fresh(self, reporting: str) -> tuple[Catalogue, Enricher]:
        """The instruments, and what adds rates in a currency; read again when those known are older than half a minute.

        So accounts that connect at the same time ask once. With them come the last prices of all symbols. What is
        returned stays up to date with later readings.

        Raises:
            RequestRefused: The exchange refuses the request.
            MalformedEvent: The answer is not what is documented.
        """
        catalogue = await self.refresh(_CATALOGUE_AGE_MAX_S)
        return catalogue, self._enricher(reporting, catalogue)

    async def refresh(self, age_max_s: float = 0.0) -> Catalogue:
        """Read the instruments again, unless they were read a short while ago: what is listed, halted and delisted.

        Raises:
            RequestRefused: The exchange refuses the request.
            MalformedEvent: The answer is not what is documented.
        """
        asked_s = time.monotonic()
        async with self._lock:
            if self._catalogue is None or self._read_s < asked_s - age_max_s:
                if self.rest.venue.clock.is_due:
                    await self.rest.measure_clock()
                newer = await self.rest.catalogue()
                self.prices.poll(await self.rest.prices())
                if self._catalogue is None:
                    self._catalogue = newer
                else:
                    self._catalogue.follow(newer)
                self._read_s = time.monotonic()
            return self._catalogue

    async def date_halted(self, symbols: Iterable[str]) -> None:
        """Find out when the last price of symbols that do not trade was made, where nobody has seen it."""
        for symbol in symbols:
            if self.prices.time_us(symbol) is None and self.prices.get(symbol) is not None:
                try:
                    candles = await self.rest.candles(symbol, "1m", limit=1)
                except (MalformedEvent, RequestRefused) as error:
                    log.info("nobody knows when the last price of %s was made: %s", symbol, error)
                    candles = []
                self.prices.date(symbol, epoch_us(candles[-1].open_time) if candles else 0)

    def enricher(self, reporting: str) -> Enricher | None:
        """What gives rates in a currency; None before the first reading."""
        return None if self._catalogue is None else self._enricher(reporting, self._catalogue)

    def _enricher(self, reporting: str, catalogue: Catalogue) -> Enricher:
        if reporting not in self._enrichers:
            self._enrichers[reporting] = Enricher(
                reporting=reporting,
                catalogue=catalogue,
                live=self.prices,
                rest=self.rest,
                benchmarks=self._benchmarks,
            )
        return self._enrichers[reporting]
