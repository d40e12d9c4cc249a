"""Best bid and ask of symbols, over one of Binance's combined market streams."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from urllib.parse import quote

import msgspec
from websockets.asyncio.client import ClientConnection

from infra.binance.connection import open_connection, receive, send
from infra.binance.errors import StreamLost
from infra.binance.venue import Venue
from portfolio.errors import InvalidAmount
from portfolio.money import ZERO, checked, exact_arithmetic

log = logging.getLogger(__name__)

STREAMS_MAX = 1_024
"""Streams that Binance allows on one connection."""

SYMBOLS_PER_REQUEST = 50
"""Symbols that an address, or one request, may name; Binance documents no limit to either."""

_REQUEST_EVERY_S = 0.5
"""Binance takes five messages a second, pings included."""

_ANSWER_S = 10.0
_HALF = Decimal("0.5")


class _BookTicker(msgspec.Struct):
    symbol: str = msgspec.field(name="s")
    bid: Decimal = msgspec.field(name="b")
    ask: Decimal = msgspec.field(name="a")


class _Combined(msgspec.Struct):
    data: _BookTicker


class _Event(msgspec.Struct):
    e: str = ""


class _Other(msgspec.Struct):
    """Whatever comes that is no book ticker."""

    data: _Event | None = None
    error: dict[str, object] | None = None


_frames = msgspec.json.Decoder(_Combined)
_others = msgspec.json.Decoder(_Other)


class MarketStream:
    """Mid prices of symbols; made by `open_market_stream`."""

    def __init__(self, connection: ClientConnection, silence_s: float) -> None:
        self._connection = connection
        self._silence_s = silence_s
        self._number = 0

    async def add(self, symbols: Sequence[str]) -> None:
        """Subscribe to more symbols, at the pace that the exchange allows; the others go on meanwhile.

        Raises:
            StreamLost: The connection has ended.
        """
        for some in _batches(symbols):
            await asyncio.sleep(_REQUEST_EVERY_S)
            await self._request("SUBSCRIBE", [_stream(symbol) for symbol in some])

    async def mid_prices(self) -> AsyncIterator[tuple[str, Decimal]]:
        """Symbol and the middle of its best bid and ask, as they change.

        When none changes for long (a symbol that is halted never does) the exchange is asked for a sign of life.

        Raises:
            StreamLost: The connection has ended, is about to, or shows no sign of life.
        """
        while True:
            frame = await self._next_frame()
            priced = decode_book_ticker(frame)
            if priced is not None:
                yield priced
            else:
                _heed(frame)

    async def _next_frame(self) -> str | bytes:
        try:
            return await receive(self._connection, self._silence_s)
        except TimeoutError:
            await self._request("LIST_SUBSCRIPTIONS")
        try:
            return await receive(self._connection, _ANSWER_S)
        except TimeoutError as error:
            raise StreamLost(f"silent for {self._silence_s + _ANSWER_S:.0f} s, also when asked") from error

    async def _request(self, method: str, params: Sequence[str] = ()) -> None:
        self._number += 1
        request = {"method": method, "id": self._number} | ({"params": params} if params else {})
        await send(self._connection, msgspec.json.encode(request))


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
    base_url: str, symbols: Sequence[str], venue: Venue, *, silence_s: float = 30.0
) -> AsyncIterator[MarketStream]:
    """Connect to the book tickers of symbols; those that an address cannot hold are subscribed to with `add`.

    Args:
        base_url: Base address of the market streams.
        symbols: At most 50.
        venue: Whose limit of connections counts.
        silence_s: How long no price may change before the exchange is asked for a sign of life.

    Raises:
        StreamLost: There is no connection.
    """
    streams = "/".join(_stream(symbol) for symbol in symbols)
    async with AsyncExitStack() as stack:
        async with venue.connections.hold(1):
            connection = await stack.enter_async_context(
                open_connection(f"{base_url.rstrip('/')}/stream?streams={quote(streams, safe='/@')}")
            )
        yield MarketStream(connection, silence_s)


def _batches(symbols: Sequence[str]) -> list[Sequence[str]]:
    return [symbols[at : at + SYMBOLS_PER_REQUEST] for at in range(0, len(symbols), SYMBOLS_PER_REQUEST)]


def _stream(symbol: str) -> str:
    return f"{symbol.lower()}@bookTicker"


def _heed(frame: str | bytes) -> None:
    """Take note of a frame that is no price.

    Raises:
        StreamLost: It says that the connection is about to end.
    """
    try:
        other = _others.decode(frame)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return
    if other.data is not None and other.data.e == "serverShutdown":
        raise StreamLost("the exchange is about to end the connection")
    if other.error is not None:
        log.warning("the exchange refuses a request of the market stream: %s", other.error)
