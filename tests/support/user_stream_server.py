"""A server of user data that a test scripts, over a real connection: also one that answers wrongly, or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Request = dict[str, Any]
Answer = Callable[[Request], Awaitable[dict[str, Any] | None]]


class UserStreamServer:
    """Answers requests as Binance does, unless a test says otherwise.

    Attributes:
        url: Where it is.
        connections: Those that are open, in the order of their opening.
        requests: What was asked, with the number of the connection.
        paths: Path and query of each connection.
        answers: By method, what to answer instead; None: nothing.
    """

    def __init__(self) -> None:
        self.url = ""
        self.connections: list[ServerConnection] = []
        self.requests: list[tuple[int, Request]] = []
        self.paths: list[str] = []
        self.answers: dict[str, Answer] = {}

    async def handle(self, connection: ServerConnection) -> None:
        number = len(self.paths)
        self.paths.append(connection.request.path if connection.request else "")
        self.connections.append(connection)
        async for frame in connection:
            request = json.loads(frame)
            self.requests.append((number, request))
            custom = self.answers.get(request["method"])
            answer = await custom(request) if custom else {"status": 200, "result": _RESULTS.get(request["method"], {})}
            if answer is not None:
                await connection.send(json.dumps({"id": request["id"]} | answer))

    def asked(self, method: str) -> list[Request]:
        """The requests of a method."""
        return [request for _, request in self.requests if request["method"] == method]

    async def tell(self, number: int, *, to: int | None = None) -> None:
        """Send an event by its number, to every connection or to one."""
        for place, connection in enumerate(self.connections):
            if to in {None, place}:
                with suppress(ConnectionClosed):
                    await connection.send(event(number, place))


_RESULTS: dict[str, Any] = {
    "userDataStream.subscribe.signature": {"subscriptionId": 0},
    "userDataStream.subscribe": {"subscriptionId": 0},
    "session.subscriptions": [{"subscriptionId": 0}],
}


def event(number: int, subscription: int = 0) -> str:
    """A frame with an event."""
    return json.dumps({"subscriptionId": subscription, "event": {"e": "test", "E": number}})


def number_of(frame: str | bytes) -> int:
    """Which event a frame holds."""
    return int(json.loads(frame)["event"]["E"])


@asynccontextmanager
async def running_server() -> AsyncIterator[UserStreamServer]:
    server = UserStreamServer()
    async with serve(server.handle, "127.0.0.1", 0) as running:
        server.url = f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}/ws-api/v3"
        yield server


async def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for comes over a connection
            await asyncio.sleep(0.005)
