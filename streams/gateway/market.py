"""What the accounts of one exchange share: its catalogue, its prices, and the rates that follow from them."""

import asyncio
import time

from infra.binance.catalogue import Catalogue
from infra.binance.prices import LivePrices
from infra.binance.rest import BinanceRest
from streams.gateway.enrich import Enricher

_CATALOGUE_AGE_MAX_S = 30.0


class SharedMarket:
    """The market of one exchange, read once for all accounts.

    Attributes:
        rest: A client for what needs no key.
        prices: The latest price of every symbol.
    """

    def __init__(self, rest: BinanceRest) -> None:
        """Prepare; nothing is read yet.

        Args:
            rest: A client for what needs no key.
        """
        self.rest = rest
        self.prices = LivePrices()
        self._catalogue: Catalogue | None = None
        self._read_s = 0.0
        self._enrichers: dict[str, Enricher] = {}
        self._lock = asyncio.Lock()

    async def fresh(self, reporting: str) -> tuple[Catalogue, Enricher]:
        """The instruments, and what adds rates in a currency; read again when those known are older than half a minute.

        So accounts that connect at the same time ask once. With them come the last prices of all symbols.

        Raises:
            RequestRefused: The exchange refuses the request.
            MalformedEvent: The answer is not what is documented.
        """
        async with self._lock:
            if self._catalogue is None or time.monotonic() - self._read_s > _CATALOGUE_AGE_MAX_S:
                await self.rest.measure_clock()
                catalogue = await self.rest.catalogue()
                self.prices.poll(await self.rest.prices())
                self._catalogue, self._read_s = catalogue, time.monotonic()
                self._enrichers.clear()
            return self._catalogue, self._enricher(reporting, self._catalogue)

    def forget_catalogue(self) -> None:
        """Something is traded that the catalogue does not list: the next who asks reads it again."""
        self._read_s = -_CATALOGUE_AGE_MAX_S

    def enricher(self, reporting: str) -> Enricher | None:
        """What gives rates in a currency; None before the first reading."""
        return None if self._catalogue is None else self._enricher(reporting, self._catalogue)

    def _enricher(self, reporting: str, catalogue: Catalogue) -> Enricher:
        if reporting not in self._enrichers:
            self._enrichers[reporting] = Enricher(
                reporting=reporting, catalogue=catalogue, live=self.prices, rest=self.rest
            )
        return self._enrichers[reporting]
