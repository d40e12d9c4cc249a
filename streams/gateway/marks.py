"""Mark prices: Binance's book tickers, conflated, as one page to every partition of the marks topic."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from infra.binance.errors import MalformedEvent, RequestRefused, StreamLost
from infra.binance.market_stream import open_market_stream
from infra.settings import Settings
from streams.gateway.log import open_producer
from streams.gateway.market import SharedMarket
from streams.records import MarksPage, marks_pages
from streams.topics import MARKS

log = logging.getLogger(__name__)

_CONFLATION_S = 0.25
_POLL_INTERVAL_S = 30.0
_BACKOFF_MAX_S = 30.0

Rates = dict[str, dict[str, Decimal]]
"""Reporting currency, asset, the price of one unit of the asset."""


class MarksFeed:
    """Keeps the live prices up to date, and publishes the rates that follow from them."""

    def __init__(
        self, *, settings: Settings, market: SharedMarket, held: Callable[[], Mapping[str, AbstractSet[str]]]
    ) -> None:
        """Prepare.

        Args:
            settings: Brokers and market streams.
            market: Its prices are kept up to date; it makes rates of them.
            held: Gives the assets that have a rate in each page, by reporting currency.
        """
        self._settings = settings
        self._market = market
        self._held = held
        self._sent: Rates = {}

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
                        self._market.prices.stream(symbol, price)
                        attempt = 0
                        if not symbols.issuperset(self._symbols()):
                            break
            except StreamLost as error:
                wait_s = max(error.retry_after_s, min(_BACKOFF_MAX_S, 2.0 ** min(attempt, 6)) * random.uniform(0.25, 1))  # noqa: S311 - jitter
                log.warning("market stream lost (%s); next attempt in %.1f s", error, wait_s)
                attempt += 1
                await asyncio.sleep(wait_s)
            finally:
                self._market.prices.lose_stream()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_INTERVAL_S)
            try:
                self._market.prices.poll(await self._market.rest.prices())
            except (MalformedEvent, RequestRefused) as error:
                log.warning("prices could not be polled: %s", error)

    async def _publish(self) -> None:
        async with open_producer(self._settings) as producer:
            while True:
                await asyncio.sleep(_CONFLATION_S)
                rates = self._rates()
                if rates and rates != self._sent:
                    await self._send(producer, rates)

    async def _send(self, producer: AIOKafkaProducer, rates: Rates) -> None:
        page = MarksPage(time_us=self._market.rest.exchange_time_us(), rates=rates)
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

    def _rates(self) -> Rates:
        """The rates of everything held, by reporting currency; a currency with none is left out."""
        pages = {reporting: self._rates_in(reporting, assets) for reporting, assets in sorted(self._held().items())}
        return {reporting: rates for reporting, rates in pages.items() if rates}

    def _rates_in(self, reporting: str, assets: AbstractSet[str]) -> dict[str, Decimal]:
        enricher = self._market.enricher(reporting)
        if enricher is None:
            return {}
        rates = {asset: enricher.live_rate(asset) for asset in sorted(assets - {reporting})}
        return {asset: rate for asset, rate in rates.items() if rate is not None}

    def _symbols(self) -> set[str]:
        """The symbols that lead from what is held to the reporting currencies."""
        symbols: set[str] = set()
        for reporting, assets in self._held().items():
            enricher = self._market.enricher(reporting)
            if enricher is not None:
                symbols.update(symbol for asset in assets for symbol in enricher.graph.symbols(asset))
        return symbols
