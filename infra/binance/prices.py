"""Prices of symbols: the latest ones, and those of any past minute."""

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from infra.binance.rest import ROWS_MAX, BinanceRest
from infra.binance.times import epoch_us, milliseconds
from portfolio.errors import InvalidAmount
from portfolio.money import ZERO, amount

MINUTE_MS = 60_000
DAY_MS = 86_400_000
_INTERVALS = {MINUTE_MS: "1m", DAY_MS: "1d"}
_BLOCKS_KEPT = 64
_UNFINISHED_AGE_MAX_S = 20.0


class LivePrices:
    """The latest price of every symbol that was seen, and when it was."""

    def __init__(self, now_us: Callable[[], int] = lambda: time.time_ns() // 1_000) -> None:
        """Start without any.

        Args:
            now_us: The exchange's clock; epoch microseconds.
        """
        self._now_us = now_us
        self._prices: dict[str, Decimal] = {}
        self._times_us: dict[str, int] = {}
        self._streamed: set[str] = set()

    def get(self, symbol: str) -> Decimal | None:
        """The latest price of the symbol; None before the first."""
        return self._prices.get(symbol)

    def time_us(self, symbol: str) -> int | None:
        """When the price was last seen to be made; None for one that was there already and has not moved since."""
        return self._times_us.get(symbol)

    def stream(self, symbol: str, price: Decimal) -> None:
        """Note a price from the market stream."""
        self._prices[symbol] = price
        self._times_us[symbol] = self._now_us()
        self._streamed.add(symbol)

    def lose_stream(self, symbols: Iterable[str]) -> None:
        """The market stream of symbols is gone: from here on polled prices are as good as its last ones."""
        self._streamed.difference_update(symbols)

    def poll(self, prices: Mapping[str, str]) -> None:
        """Note polled prices; a symbol that is being streamed has a newer one."""
        for symbol, price in prices.items():
            known = None if symbol in self._streamed else _price(price)
            if known is None or known == self._prices.get(symbol):
                continue
            if symbol in self._prices:
                self._times_us[symbol] = self._now_us()
            self._prices[symbol] = known

    def date(self, symbol: str, time_us: int) -> None:
        """Note when the price that is known was made, where nobody has seen it."""
        self._times_us.setdefault(symbol, time_us)


class _Block(NamedTuple):
    open_times_ms: list[int]
    closes: list[Decimal]
    is_finished: bool
    """Whether no candle can be added to it any more."""
    read: float


class PriceHistory:
    """Closing prices of past candles, read in blocks of 1,000 and kept while they are in use.

    Events are asked for in the order of their time, so a few blocks a symbol are enough, whatever the length of the
    history.
    """

    def __init__(self, rest: BinanceRest) -> None:
        """Start without any.

        Args:
            rest: Where candles are read.
        """
        self._rest = rest
        self._blocks: OrderedDict[tuple[str, int, int], _Block] = OrderedDict()
        self._outside: dict[tuple[str, int], Decimal | None] = {}

    async def price(self, symbol: str, time_us: int, candle_ms: int = MINUTE_MS) -> Decimal | None:
        """The closing price of the candle of a moment.

        Args:
            symbol: The symbol.
            time_us: The moment.
            candle_ms: Length of the candle: a minute or a day.

        Returns:
            Where the symbol had no candle then: its last price before; else its first price after; else None.
        """
        time_ms = milliseconds(time_us)
        block_start = time_ms - time_ms % (ROWS_MAX * candle_ms)
        block = await self._block(symbol, block_start, candle_ms, time_ms)
        at = bisect_right(block.open_times_ms, time_ms) - 1
        if at >= 0:
            return block.closes[at]
        return await self._nearest(symbol, block_start, candle_ms)

    async def _block(self, symbol: str, start_ms: int, candle_ms: int, time_ms: int) -> _Block:
        key = (symbol, candle_ms, start_ms)
        block = self._blocks.get(key)
        if block is not None and (block.is_finished or _reaches(block, time_ms, candle_ms) or _is_fresh(block)):
            self._blocks.move_to_end(key)
            return block
        end_ms = start_ms + ROWS_MAX * candle_ms
        opens, closes = await self._read(symbol, candle_ms, startTime=start_ms, endTime=end_ms - 1)
        is_finished = milliseconds(self._rest.exchange_time_us()) > end_ms
        block = self._blocks[key] = _Block(opens, closes, is_finished, time.monotonic())
        if len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return block

    async def _nearest(self, symbol: str, block_start_ms: int, candle_ms: int) -> Decimal | None:
        key = (symbol, block_start_ms)
        if key not in self._outside:
            _, closes = await self._read(symbol, candle_ms, 1, endTime=block_start_ms - 1)
            if not closes:
                _, closes = await self._read(symbol, candle_ms, 1, startTime=block_start_ms)
            self._outside[key] = closes[-1] if closes else None
        return self._outside[key]

    async def _read(
        self, symbol: str, candle_ms: int, limit: int = ROWS_MAX, **when_ms: int
    ) -> tuple[list[int], list[Decimal]]:
        opens: list[int] = []
        closes: list[Decimal] = []
        for candle in await self._rest.candles(symbol, _INTERVALS[candle_ms], limit=limit, **when_ms):
            close = _price(candle.close)
            if close is not None:
                opens.append(milliseconds(epoch_us(candle.open_time)))
                closes.append(close)
        return opens, closes


def _reaches(block: _Block, time_ms: int, candle_ms: int) -> bool:
    return bool(block.open_times_ms) and block.open_times_ms[-1] + candle_ms > time_ms


def _is_fresh(block: _Block) -> bool:
    return time.monotonic() - block.read < _UNFINISHED_AGE_MAX_S


def _price(text: str) -> Decimal | None:
    try:
        price = amount(text)
    except InvalidAmount:
        return None
    return price if price > ZERO else None
