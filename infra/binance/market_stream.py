"""Best bid and ask of symbols, over Binance's combined market streams."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

import msgspec
from websockets.asyncio.client import ClientConnection

from infra.binance.connection import open_connection, receive
from infra.binance.errors import StreamLost
from portfolio.errors import InvalidAmount
from portfolio.money import ZERO, checked, exact_arithmetic

STREAMS_MAX = 1_024
"""Streams that Binance allows on one connection."""

_HALF = Decimal("0.5")


class _BookTicker(msgspec.Struct):
    symbol: str = msgspec.field(name="s")
    bid: Decimal = msgspec.field(name="b")
    ask: Decimal = msgspec.field(name="a")


class _Combined(msgspec.Struct):
    data: _BookTicker


_frames = msgspec.json.Decoder(_Combined)


class MarketStream:
    """Mid prices of symbols; made by `open_market_stream`."""

    def __init__(self, connection: ClientConnection, silence_s: float) -> None:
        self._connection = connection
        self._silence_s = silence_s

    async def mid_prices(self) -> AsyncIterator[tuple[str, Decimal]]:
        """Symbol and the middle of its best bid and ask, as they change.

        Raises:
            StreamLost: The connection has ended, or nothing came for too long.
        """
        while True:
            try:
                frame = await receive(self._connection, self._silence_s)
            except TimeoutError as error:
                raise StreamLost(f"no price for {self._silence_s:.0f} s") from error
            priced = decode_book_ticker(frame)
            if priced is not None:
                yield priced


def decode_book_ticker(frame: str | bytes) -> tuple[str, Decimal] | None:
    """Symbol and mid price of a frame of a combined `@bookTicker` stream; None for any other frame."""
    try:
        ticker = _frames.decode(frame).data
        with exact_arithmetic():
            mid = (checked(ticker.bid) + checked(ticker.ask)) * _HALF
    except (msgspec.DecodeError, msgspec.ValidationError, InvalidAmount, RecursionError):
        return None
    # One side of an empty book is zero: half of the other is no price.
    return (ticker.symbol, mid) if ticker.bid > ZERO and ticker.ask > ZERO else None


@asynccontextmanager
async def open_market_stream(
    base_url: str, symbols: Sequence[str], *, silence_s: float = 60.0
) -> AsyncIterator[MarketStream]:
    """Connect to the book tickers of up to 1,024 symbols.

    Raises:
        StreamLost: There is no connection.
    """
    streams = "/".join(f"{symbol.lower()}@bookTicker" for symbol in symbols[:STREAMS_MAX])
    async with open_connection(f"{base_url.rstrip('/')}/stream?streams={streams}") as connection:
        yield MarketStream(connection, silence_s)
