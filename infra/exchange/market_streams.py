"""Market streams at `/ws` and `/stream`: trades, best bid and ask, mini tickers.

A message is encoded once for all connections that want it in the same form.
"""

import re
from collections import defaultdict
from collections.abc import Callable

import msgspec
from aiohttp import web

from infra.exchange.decimals import wire
from infra.exchange.disturbances import DisturbedStream
from infra.exchange.engine import Exchange
from infra.exchange.errors import ExchangeError
from infra.exchange.events import TimeUnit
from infra.exchange.faults import FaultError, Faults, Target
from infra.exchange.recording import Quote
from infra.exchange.rest import error_response, time_unit
from infra.exchange.sockets import ClientSocket
from infra.exchange.transactions import Trade
from infra.exchange.venue import MarketListener

_DAY_US = 86_400_000_000
_ALL_MINI_TICKERS = "!miniTicker@arr"
_STREAM = re.compile(r"^([a-z0-9]{1,20}@(trade|bookTicker|miniTicker)|!miniTicker@arr)$")

Payload = Callable[[TimeUnit], object]


class _Command(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: list[object] = []


class _CommandError(Exception):
    """A command that cannot be carried out: `{"code": ..., "msg": ...}`."""

    def __init__(self, code: int, message: str) -> None:
        self.payload = {"code": code, "msg": message}
        super().__init__(message)


class MarketStreams(MarketListener):
    """All connections to the market streams."""

    def __init__(self, exchange: Exchange, faults: Faults) -> None:
        self._exchange = exchange
        self._faults = faults
        self._subscribers: defaultdict[str, set[_Connection]] = defaultdict(set)
        self._connections: set[_Connection] = set()
        self._traded: set[str] = set()
        exchange.market_listener = self

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Serve a connection, to single streams (`/ws/...`) or combined (`/stream?streams=...`)."""
        try:
            unit = time_unit(request.query.get("timeUnit"))
        except ExchangeError as error:
            return error_response(error)
        combined = request.path.startswith("/stream")
        names = request.query.get("streams", "") if combined else request.match_info.get("streams", "")
        connection = _Connection(self, ClientSocket(request), self._faults, unit, combined=combined)
        self._connections.add(connection)
        connection.subscribe([name for name in names.split("/") if _STREAM.match(name)])
        try:
            return await connection.socket.run(connection.on_text)
        finally:
            self._connections.discard(connection)
            connection.unsubscribe(list(connection.streams))

    def connections_of(self, _account: str) -> "list[_Connection]":
        """Every connection: the market is everybody's."""
        return list(self._connections)

    def now_us(self) -> int:
        """The exchange's time."""
        return self._exchange.now_us()

    async def close(self) -> None:
        """End every connection, for a shutdown."""
        for connection in list(self._connections):
            await connection.socket.close()

    def subscribe(self, connection: "_Connection", stream: str) -> None:
        """Send a stream to a connection."""
        self._subscribers[stream].add(connection)

    def unsubscribe(self, connection: "_Connection", stream: str) -> None:
        """Stop sending a stream to a connection."""
        self._subscribers[stream].discard(connection)

    def on_quote(self, symbol: str, quote: Quote, update_id: int) -> None:
        """Send the best bid and ask."""
        self._publish(
            f"{symbol.lower()}@bookTicker",
            lambda _unit: {
                "u": update_id,
                "s": symbol,
                "b": wire(quote.bid),
                "B": wire(quote.bid_quantity),
                "a": wire(quote.ask),
                "A": wire(quote.ask_quantity),
            },
        )

    def on_trade(self, trade: Trade) -> None:
        """Send a trade."""
        self._traded.add(trade.symbol)
        event_time_us = max(self._exchange.now_us(), trade.time_us)
        self._publish(
            f"{trade.symbol.lower()}@trade",
            lambda unit: {
                "e": "trade",
                "E": unit.stamp(event_time_us),
                "s": trade.symbol,
                "t": trade.trade_id,
                "p": wire(trade.price),
                "q": wire(trade.quantity),
                "T": unit.stamp(trade.time_us),
                "m": trade.buyer_is_maker,
                "M": True,
            },
        )

    def send_mini_tickers(self) -> None:
        """Send the tickers of the symbols that traded since the last time; called every second."""
        traded, self._traded = sorted(self._traded), set()
        wanted = [symbol for symbol in traded if self._subscribers.get(f"{symbol.lower()}@miniTicker")]
        for symbol in wanted:
            self._publish(f"{symbol.lower()}@miniTicker", self._mini_ticker(symbol))
        if traded and self._subscribers.get(_ALL_MINI_TICKERS):
            tickers = [self._mini_ticker(symbol) for symbol in traded]
            self._publish(_ALL_MINI_TICKERS, lambda unit: [ticker(unit) for ticker in tickers])

    def _mini_ticker(self, symbol: str) -> Payload:
        now_us = self._exchange.now_us()
        day = self._exchange.market.candle(symbol, now_us - _DAY_US, now_us)
        return lambda unit: {
            "e": "24hrMiniTicker",
            "E": unit.stamp(now_us),
            "s": symbol,
            "c": wire(day.close),
            "o": wire(day.open),
            "h": wire(day.high),
            "l": wire(day.low),
            "v": wire(day.quantity),
            "q": wire(day.quote_quantity),
        }

    def _publish(self, stream: str, payload: Payload) -> None:
        encoded: dict[tuple[TimeUnit, bool], bytes] = {}
        for connection in self._subscribers.get(stream, ()):
            form = (connection.unit, connection.combined)
            if form not in encoded:
                data = payload(connection.unit)
                encoded[form] = msgspec.json.encode({"stream": stream, "data": data} if connection.combined else data)
            connection.deliver(encoded[form])


class _Connection:
    """One client of the market streams, and its commands."""

    def __init__(
        self, streams: MarketStreams, socket: ClientSocket, faults: Faults, unit: TimeUnit, *, combined: bool
    ) -> None:
        self.socket = socket
        self._stream = DisturbedStream(socket.send_encoded, faults, Target.MARKET)
        self.unit = unit
        self.combined = combined
        self.streams: dict[str, None] = {}
        self._hub = streams
        self._methods: dict[str, Callable[[list[object]], object]] = {
            "SUBSCRIBE": lambda names: self.subscribe(_stream_names(names)),
            "UNSUBSCRIBE": lambda names: self.unsubscribe(_stream_names(names)),
            "LIST_SUBSCRIPTIONS": lambda _names: list(self.streams),
            "SET_PROPERTY": self._set_property,
            "GET_PROPERTY": self._get_property,
        }

    def deliver(self, message: bytes) -> None:
        """Send a message of a stream."""
        self._stream.send(message)

    def announce_shutdown(self) -> None:
        """Say that the connection will end."""
        event = {"e": "serverShutdown", "E": self.unit.stamp(self._hub.now_us())}
        self.socket.send({"stream": "!serverShutdown", "data": event} if self.combined else event)

    def terminate_stream(self, account: str) -> None:
        """Market streams have no subscription that could be terminated."""
        raise FaultError(f"market streams carry nothing of {account or 'an account'}")

    def subscribe(self, names: list[str]) -> None:
        """Add streams."""
        for name in names:
            self.streams[name] = None
            self._hub.subscribe(self, name)

    def unsubscribe(self, names: list[str]) -> None:
        """Take streams away."""
        for name in names:
            self.streams.pop(name, None)
            self._hub.unsubscribe(self, name)

    def on_text(self, text: str) -> None:
        """Carry out a command and answer it."""
        request_id: int | str | None = None
        try:
            command = _decode(text)
            request_id = command.id
            self.socket.send({"result": self._method(command.method)(command.params), "id": request_id})
        except _CommandError as error:
            self.socket.send({"error": error.payload, "id": request_id})

    def _method(self, name: str) -> Callable[[list[object]], object]:
        if name not in self._methods:
            expected = ", ".join(f"`{each}`" for each in self._methods)
            raise _CommandError(2, f"Invalid request: unknown variant `{name}`, expected one of {expected}")
        return self._methods[name]

    def _set_property(self, values: list[object]) -> None:
        match values:
            case ["combined", bool(combined)]:
                self.combined = combined
            case ["combined", _]:
                raise _CommandError(1, "Invalid value type: expected Boolean")
            case _:
                raise _CommandError(0, "Unknown property")

    def _get_property(self, values: list[object]) -> bool:
        if values != ["combined"]:
            raise _CommandError(0, "Unknown property")
        return self.combined


def _decode(text: str) -> _Command:
    try:
        return msgspec.json.decode(text, type=_Command)
    except msgspec.ValidationError as error:
        raise _CommandError(2, f"Invalid request: {error}") from None
    except msgspec.DecodeError as error:
        raise _CommandError(3, f"Invalid JSON: {error}") from None


def _stream_names(values: list[object]) -> list[str]:
    names = [value for value in values if isinstance(value, str) and _STREAM.match(value)]
    if len(names) < len(values):
        raise _CommandError(2, "Invalid request: unknown stream; see docs/exchange.md for those that exist")
    return names
