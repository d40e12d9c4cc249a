"""Prices of any number of symbols, over as many connections as they need.

A symbol stays with its connection: one that is added takes free room on a connection that is up, or a new one, and
none that is there is dropped for it. A connection that ends takes only its own symbols along until it is back.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal

from infra.backoff import backoff_s
from infra.binance.errors import StreamLost
from infra.binance.market_stream import SYMBOLS_PER_REQUEST, open_market_stream
from infra.binance.venue import Venue

log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.5
_BACKOFF_MAX_S = 30.0

OnPrice = Callable[[str, Decimal], None]
OnLost = Callable[[Collection[str]], None]


class MarketFeed:
    """Keeps the prices of symbols coming."""

    def __init__(
        self, url: str, venue: Venue, *, streams_per_connection: int, on_price: OnPrice, on_lost: OnLost
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            url: Base address of the market streams.
            venue: Whose limit of connections counts.
            streams_per_connection: Symbols that share a connection, 1 to 1,024.
            on_price: Takes a symbol and its mid price.
            on_lost: Takes the symbols whose prices do not come for the moment.
        """
        self._url = url
        self._venue = venue
        self._size = streams_per_connection
        self._on_price = on_price
        self._on_lost = on_lost
        self._shards: list[_Shard] = []
        self._known: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, wanted: Callable[[], Iterable[str]], *, look_every_s: float) -> None:
        """Run until cancelled.

        Args:
            wanted: Gives the symbols that are wanted; what it has once given stays.
            look_every_s: How often it is asked.
        """
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                self._add(wanted())
                await asyncio.sleep(look_every_s)

    def _add(self, symbols: Iterable[str]) -> None:
        new = sorted(set(symbols) - self._known)
        self._known.update(new)
        for shard in self._shards:
            room = self._size - len(shard.symbols)
            shard.add(new[:room])
            new = new[room:]
        while new and self._tasks is not None:
            shard = _Shard(self._url, self._venue, self._on_price, self._on_lost)
            shard.add(new[: self._size])
            new = new[self._size :]
            self._shards.append(shard)
            self._tasks.create_task(shard.run())


class _Shard:
    """One connection and its symbols."""

    def __init__(self, url: str, venue: Venue, on_price: OnPrice, on_lost: OnLost) -> None:
        self.symbols: list[str] = []
        self._url = url
        self._venue = venue
        self._on_price = on_price
        self._on_lost = on_lost
        self._grown = asyncio.Event()

    def add(self, symbols: Collection[str]) -> None:
        if symbols:
            self.symbols.extend(symbols)
            self._grown.set()

    async def run(self) -> None:
        attempt = 0
        while True:
            started_s = asyncio.get_running_loop().time()
            try:
                await self._follow()
            except StreamLost as error:
                self._on_lost(self.symbols)
                if asyncio.get_running_loop().time() - started_s > _BACKOFF_MAX_S:
                    attempt = 0
                wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
                wait_s = max(wait_s, error.retry_after_s)
                log.warning(
                    "market stream of %d symbols lost (%s); next attempt in %.1f s", len(self.symbols), error, wait_s
                )
                attempt += 1
                await asyncio.sleep(wait_s)

    async def _follow(self) -> None:
        """Connect, and take prices until the connection ends."""
        first = self.symbols[:SYMBOLS_PER_REQUEST]
        async with open_market_stream(self._url, first, self._venue) as stream:
            log.info("market stream of %d symbols", len(self.symbols))

            async def add_more() -> None:
                subscribed = len(first)
                while True:
                    self._grown.clear()
                    more = self.symbols[subscribed:]
                    subscribed += len(more)
                    await stream.add(more)
                    if len(self.symbols) == subscribed:
                        await self._grown.wait()

            adding = asyncio.create_task(add_more())
            try:
                async for symbol, price in stream.mid_prices():
                    self._on_price(symbol, price)
            finally:
                adding.cancel()
                await asyncio.gather(adding, return_exceptions=True)
