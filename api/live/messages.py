"""What a live stream says: what has happened, and what the reader must know about the stream itself."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

from infra.redis.live import LiveEntry, place_of

TOPICS: Final = ("pnl", "positions", "balances", "trades", "alerts")
"""What can be subscribed to."""

HEARTBEAT: Final = "heartbeat"

PIECE_BYTES: Final = 64 * 1024
"""About how much is sent at once: what a slow reader has not taken yet stays in messages that all readers share."""


@dataclass(frozen=True, eq=False)
class Message:
    """One message. It is put into bytes once, however many read it.

    Attributes:
        topic: One of `TOPICS`, or of the stream itself: hello, gap, degraded, recovered, changed, heartbeat.
        data: JSON.
        id: Where to resume after it; empty: it does not move that.
        account: Whose it is; empty: of no account.
        key: What it is the newest state of; empty: an event of its own.
        place: The id as what it is ordered by.
    """

    topic: str
    data: bytes
    id: str = ""
    account: str = ""
    key: str = ""
    place: tuple[int, int] = (0, 0)

    @classmethod
    def of_entry(cls, entry: LiveEntry) -> Self:
        """What an entry of the feed says."""
        return cls(
            topic=entry.topic,
            data=entry.data.replace(b"\n", b" "),
            id=entry.id,
            account=entry.account,
            key=entry.key,
            place=place_of(entry.id),
        )

    @classmethod
    def about_stream(cls, topic: str, **data: str | float | None) -> Self:
        """A message about the stream itself."""
        return cls(topic=topic, data=json.dumps(data).encode())

    @cached_property
    def sse(self) -> bytes:
        """As a Server-Sent Event; a heartbeat is a comment."""
        if self.topic == HEARTBEAT:
            return b": heartbeat\n\n"
        head = f"id: {self.id}\n" if self.id else ""
        # JSON has no line breaks but those that it is laid out with, and what is handed on here is not laid out.
        return f"{head}event: {self.topic}\n".encode() + b"data: " + self.data + b"\n\n"

    @cached_property
    def websocket(self) -> str:
        """As a WebSocket tells it."""
        head = json.dumps({"id": self.id or None, "topic": self.topic, "account": self.account or None})
        return f'{head[:-1]}, "data": {self.data.decode()}}}'


def server_sent_events(messages: Iterable[Message]) -> Iterator[bytes]:
    """Messages as they are sent, in as few pieces as may be."""
    piece: list[bytes] = []
    size = 0
    for message in messages:
        piece.append(message.sse)
        size += len(message.sse)
        if size >= PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)
