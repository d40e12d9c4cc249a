"""Mark prices: Binance's book tickers, conflated, as one page to every partition of the marks topic."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from infra.binance.errors import MalformedEvent, RequestRefused
from infra.binance.market_feed import MarketFeed
from infra.cancellation import run_together
from infra.settings import Settings
from streams.gateway.log import open_producer
from streams.gateway.market import SharedMarket
from streams.records import MarksPage, marks_pages
from streams.topics import MARKS

log = logging.getLogger(__name__)

_CONFLATION_S = 0.25
_POLL_INTERVAL_S = 30.0
_HALTED_INTERVAL_S = 1.0

Rates = dict[str, dict[str, Decimal]]
"""Reporting currency, asset, the price of one unit of the asset."""


class _Content(NamedTuple):
    """What a page says, besides its time."""

    rates: Rates
    stale: dict[str, dict[str, int]]


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
        self._sent = _Content({}, {})

    async def run(self) -> None:
        """Run until cancelled. A lost stream or broker is tried again, since a later page replaces a missed one."""
        prices = self._market.prices
        feed = MarketFeed(
            self._settings.binance_stream_url,
            self._market.rest.venue,
            streams_per_connection=self._settings.binance_streams_per_connection,
            on_price=prices.stream,
            on_lost=prices.lose_stream,
        )
        await run_together(
            feed.run(self._symbols, look_every_s=_CONFLATION_S), self._poll(), self._watch_listing(), self._publish()
        )

    def stale(self, reporting: str) -> Mapping[str, int]:
        """The assets whose price does not move, as in the last page, with the time that it was made."""
        return self._sent.stale.get(reporting, {})

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_INTERVAL_S)
            try:
                self._market.prices.poll(await self._market.rest.prices())
            except (MalformedEvent, RequestRefused) as error:
                log.warning("prices could not be polled: %s", error)

    async def _watch_listing(self) -> None:
        """Read again and again what is listed, halted and delisted, and since when."""
        read_s = time.monotonic()
        while True:
            await asyncio.sleep(_HALTED_INTERVAL_S)
            try:
                if time.monotonic() - read_s >= self._settings.binance_catalogue_interval_s:
                    read_s = time.monotonic()
                    await self._market.refresh()
                await self._market.date_halted(self._halted())
            except (MalformedEvent, RequestRefused) as error:
                log.warning("the symbols could not be read: %s", error)

    async def _publish(self) -> None:
        async with open_producer(self._settings) as producer:
            while True:
                await asyncio.sleep(_CONFLATION_S)
                content = _Content(self._rates(), self._stale())
                if content.rates and content != self._sent:
                    await self._send(producer, content)

    async def _send(self, producer: AIOKafkaProducer, content: _Content) -> None:
        page = MarksPage(time_us=self._market.rest.exchange_time_us(), rates=content.rates, stale=content.stale)
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
            self._sent = content

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

    def _stale(self) -> dict[str, dict[str, int]]:
        """What is held and has no price that moves, with the time of the last one; zero where nobody knows it."""
        stale: dict[str, dict[str, int]] = {}
        for reporting, assets in sorted(self._held().items()):
            enricher = self._market.enricher(reporting)
            if enricher is None:
                continue
            for asset in sorted(assets - {reporting}):
                halted = enricher.graph.halted(asset)
                if halted or enricher.graph.path(asset) is None:
                    times_us = [self._market.prices.time_us(symbol) or 0 for symbol in halted]
                    stale.setdefault(reporting, {})[asset] = min(times_us, default=0)
        return stale

    def _halted(self) -> set[str]:
        return {
            symbol
            for reporting, assets in self._held().items()
            if (enricher := self._market.enricher(reporting)) is not None
            for asset in assets
            for symbol in enricher.graph.halted(asset)
        }

    def _symbols(self) -> set[str]:
        """The symbols that lead from what is held to the reporting currencies."""
        symbols: set[str] = set()
        for reporting, assets in self._held().items():
            enricher = self._market.enricher(reporting)
            if enricher is not None:
                symbols.update(symbol for asset in assets for symbol in enricher.graph.symbols(asset))
        return symbols
