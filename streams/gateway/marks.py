"""Mark prices: Binance's book tickers, conflated, as one page to every partition of the marks topic."""

import asyncio
import logging
import random
from collections.abc import Callable
from decimal import Decimal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from infra.binance.errors import MalformedEvent, RequestRefused, StreamLost
from infra.binance.market_stream import open_market_stream
from infra.binance.prices import LivePrices
from infra.binance.rest import BinanceRest
from infra.settings import Settings
from streams.gateway.enrich import Enricher
from streams.gateway.log import open_producer
from streams.records import MarksPage, marks_pages
from streams.topics import MARKS

log = logging.getLogger(__name__)

_CONFLATION_S = 0.25
_POLL_INTERVAL_S = 30.0
_BACKOFF_MAX_S = 30.0


class MarksFeed:
    """Keeps the live prices up to date, and publishes the rates that follow from them."""

    def __init__(
        self,
        *,
        settings: Settings,
        rest: BinanceRest,
        live: LivePrices,
        enricher: Callable[[], Enricher | None],
        assets: Callable[[], set[str]],
    ) -> None:
        """Prepare.

        Args:
            settings: Brokers, market streams, reporting currency.
            rest: Where the prices of pairs that are not streamed are polled.
            live: The prices to keep up to date.
            enricher: Gives what turns prices into rates; None before the catalogue was read.
            assets: Gives the assets that have a rate in each page.
        """
        self._settings = settings
        self._rest = rest
        self._live = live
        self._enricher = enricher
        self._assets = assets
        self._sent: dict[str, Decimal] = {}

    async def run(self) -> None:
        """Run until cancelled. A lost stream or broker is tried again, since a later page replaces a missed one."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stream())
            tasks.create_task(self._poll())
            tasks.create_task(self._publish())

    async def _stream(self) -> None:
        attempt = 0
        while True:
            symbols = self._symbols()
            if not symbols:
                await asyncio.sleep(_CONFLATION_S)
                continue
            try:
                async with open_market_stream(self._settings.binance_stream_url, sorted(symbols)) as stream:
                    log.info("market stream of %d symbols", len(symbols))
                    async for symbol, price in stream.mid_prices():
                        self._live.stream(symbol, price)
                        attempt = 0
                        if not symbols.issuperset(self._symbols()):
                            break
            except StreamLost as error:
                wait_s = max(error.retry_after_s, min(_BACKOFF_MAX_S, 2.0 ** min(attempt, 6)) * random.uniform(0.25, 1))  # noqa: S311 - jitter
                log.warning("market stream lost (%s); next attempt in %.1f s", error, wait_s)
                attempt += 1
                await asyncio.sleep(wait_s)
            finally:
                self._live.lose_stream()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_INTERVAL_S)
            try:
                self._live.poll(await self._rest.prices())
            except (MalformedEvent, RequestRefused) as error:
                log.warning("prices could not be polled: %s", error)

    async def _publish(self) -> None:
        async with open_producer(self._settings) as producer:
            while True:
                await asyncio.sleep(_CONFLATION_S)
                rates = self._rates()
                if rates and rates != self._sent:
                    await self._send(producer, rates)

    async def _send(self, producer: AIOKafkaProducer, rates: dict[str, Decimal]) -> None:
        page = MarksPage(time_us=self._rest.exchange_time_us(), rates={self._settings.reporting_currency: rates})
        value = marks_pages.encode(page)
        try:
            partitions = await producer.partitions_for(MARKS.name)
            sent = [
                await producer.send(MARKS.name, value, key=str(partition).encode(), partition=partition)
                for partition in sorted(partitions)
            ]
            await asyncio.gather(*sent)
        except (KafkaError, OSError) as error:
            log.warning("marks were not published: %r", error)
        else:
            self._sent = rates

    def _rates(self) -> dict[str, Decimal]:
        enricher = self._enricher()
        if enricher is None:
            return {}
        rates = {asset: enricher.live_rate(asset) for asset in sorted(self._assets())}
        return {
            asset: rate
            for asset, rate in rates.items()
            if rate is not None and asset != self._settings.reporting_currency
        }

    def _symbols(self) -> set[str]:
        enricher = self._enricher()
        if enricher is None:
            return set()
        return {symbol for asset in self._assets() for symbol in enricher.graph.symbols(asset)}
