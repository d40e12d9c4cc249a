"""The least of an HTTP client that can put a server under load.

It shares the machine with what it measures more often than not, so what it costs itself stands in the figures: a
request here takes about a tenth of the processor time that a client for all purposes takes.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

OK: Final = 200


@dataclass(frozen=True, slots=True)
class Server:
    """The server, and what every request says to it.

    Attributes:
        prefix: What comes before every path.
        head: The header lines of every request.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    prefix: str
    head: bytes

    @classmethod
    def at(cls, url: str, key: str | None) -> Self:
        """The server of an address.

        Args:
            url: http:// or https://, without a query.
            key: The bearer token to send; None: none is sent.

        Raises:
            ValueError: It is no such address.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is not the address of an HTTP server")
        lines = [f"Host: {parts.netloc}", "Accept-Encoding: gzip", "User-Agent: portfolio-load"]
        if key is not None:
            lines.append(f"Authorization: Bearer {key}")
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (80 if tls is None else 443)
        return cls(parts.hostname, port, tls, parts.path.rstrip("/"), "\r\n".join([*lines, "", ""]).encode())

    def request(self, path: str) -> bytes:
        """A request for a path, as it is sent."""
        return f"GET {self.prefix}{path} HTTP/1.1\r\n".encode() + self.head

    async def connect(self, connection: "Connection") -> None:
        """Connect.

        Raises:
            OSError: It cannot be reached.
        """
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: connection, self.host, self.port, ssl=self.tls)


class Connection(asyncio.Protocol):
    """A connection to the server.

    Attributes:
        status: The status of the answer that is being read.
        heard_s: When something came last, by the monotonic clock.
    """

    def __init__(self) -> None:
        self.status = 0
        self.heard_s = time.monotonic()
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # what the loop hands to a protocol of a connection

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self.heard_s = time.monotonic()
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self.close()

    def on_headers_complete(self) -> None:
        """Note the status; the parser calls this."""
        self.status = self._parser.get_status_code()

    def send(self, request: bytes) -> None:
        """Send a request; it must be connected."""
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Close it, whatever it is doing."""
        if self._transport is not None:
            self._transport.abort()


class Asking(Connection):
    """A connection that asks, one request at a time, for as long as the server keeps it open.

    Attributes:
        body_bytes: How long the body of the last answer was.
        is_busy: Whether an answer is awaited.
    """

    def __init__(self, on_answer: Callable[["Asking"], None], on_lost: Callable[["Asking"], None]) -> None:
        """Make a connection.

        Args:
            on_answer: Called when an answer is complete.
            on_lost: Called when it is closed; what it was asked last was not answered if it `is_busy`.
        """
        super().__init__()
        self._on_answer = on_answer
        self._on_lost = on_lost
        self.body_bytes = 0
        self.is_busy = False
        self.is_closed = False

    def ask(self, request: bytes) -> None:
        """Send a request; the answer before must have come."""
        self.is_busy = True
        self.body_bytes = 0
        self.heard_s = time.monotonic()
        self.send(request)

    def on_body(self, body: bytes) -> None:
        """Count what comes; the parser calls this."""
        self.body_bytes += len(body)

    def on_message_complete(self) -> None:
        """Tell that the answer is there; the parser calls this."""
        self.is_busy = False
        if not self._parser.should_keep_alive():
            self.close()
        self._on_answer(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell that it is gone."""
        self.is_closed = True
        self._on_lost(self)

    def close(self) -> None:
        """Close it, and ask nothing more."""
        self.is_closed = True
        super().close()


class Listening(Connection):
    """A live stream, for as long as the server keeps it open."""

    def __init__(self, on_event: Callable[["Listening", bytes], None], on_lost: Callable[["Listening"], None]) -> None:
        """Make a stream.

        Args:
            on_event: Called with each event, without the line that ends it.
            on_lost: Called when it is closed.
        """
        super().__init__()
        self._on_event = on_event
        self._on_lost = on_lost
        self._begun = b""

    def on_body(self, body: bytes) -> None:
        """Cut what comes into events; the parser calls this."""
        if self.status != OK:
            return
        *events, self._begun = (self._begun + body).split(b"\n\n")
        for event in events:
            self._on_event(self, event)

    def on_message_complete(self) -> None:
        """A stream that says that it is over is; the parser calls this."""
        self.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell that it is gone."""
        self._on_lost(self)
