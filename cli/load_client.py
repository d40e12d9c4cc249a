"""The client of `portfolio load`: holds streams, asks at a steady rate, and measures."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from cli.load_connections import OK, Asking, Listening, Server
from cli.load_seen import Seen
from infra.errors import RemediableError
from infra.open_files import REMEDY, allow_open_files

ROUTES: Final = (
    "/portfolio/overview",
    "/portfolio/balances",
    "/portfolio/positions?status=open",
    "/portfolio/pnl-by-symbol",
    "/portfolio/trade-history?limit=50",
    "/portfolio/metrics?period=7d",
    "/portfolio/equity?period=24h",
    "/metrics/performance?period=24h",
    "/portfolio/accounts",
    "/portfolio/fees",
)
"""What the dashboard and bots ask for, in turn."""

_STREAM: Final = "/portfolio/stream"
_CONNECTIONS_MAX: Final = 256
_FILES_SPARE: Final = 128
_TIMEOUT_S: Final = 30.0
_GRACE_S: Final = 5.0
"""How far the requests may fall behind before those that are left are given up."""
_IDLE_MAX_S: Final = 2.0
"""Connections that were idle for longer are not used again: servers close them, after five seconds often."""
_SILENCE_MAX_S: Final = 40.0
"""A stream says something each fifteen seconds, so then it is dead."""
_OPENING_S: Final = 60.0
_OPENING_AT_ONCE: Final = 50
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to the API.

    Attributes:
        key: Sent with every request; None: none is.
        streams: How many are held.
        rate: Requests a second.
        seconds: How long.
    """

    url: str
    key: str | None
    streams: int
    rate: int
    seconds: float


async def put_under_load(plan: Plan) -> dict[str, Any]:
    """Do it, and tell what was seen: counts, errors, and percentiles in milliseconds.

    Raises:
        RemediableError: The API cannot be reached, does not accept the key, or more files are needed than allowed.
    """
    needed = plan.streams + _CONNECTIONS_MAX + _FILES_SPARE
    if (allowed := allow_open_files(needed)) < needed:
        raise RemediableError(
            f"{needed} files must be open at once, and {allowed} may be", f"{REMEDY}; or fewer --streams"
        )
    try:
        server = Server.at(plan.url, plan.key)
    except ValueError as error:
        raise RemediableError(str(error), "Name it as --url http://127.0.0.1:8000") from error
    await _require_answer(server, plan.url)
    seen = Seen.nothing(ROUTES)
    streams, requests = _Streams(server, seen), _Requests(server, seen)
    await streams.open(plan.streams)
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    looking = asyncio.create_task(_look_after(streams, requests))
    await requests.ask_all(plan.rate, plan.seconds)
    await asyncio.sleep(max(0.0, plan.seconds - (time.perf_counter() - began_s)))
    took_s, client_cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_began_s
    looking.cancel()
    streams.close()
    requests.close()
    return seen.report(rate=plan.rate, streams=plan.streams, took_s=took_s, client_cpu_s=client_cpu_s)


async def _require_answer(server: Server, url: str) -> None:
    over = asyncio.Event()
    connection = Asking(lambda _: over.set(), lambda _: over.set())
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await server.connect(connection)
            connection.ask(server.request(ROUTES[0]))
            await over.wait()
    except OSError as error:
        told = str(error) or f"no answer within {_TIMEOUT_S:.0f} s"
        raise RemediableError(
            f"{url} cannot be reached: {told}", "Start it: `portfolio up`; or name it: --url"
        ) from error
    connection.close()
    if connection.status != OK:
        told = f"answers {connection.status}" if connection.status else "closes the connection without an answer"
        raise RemediableError(
            f"{url} {told}", "Send a key that may see it (--key-env), name it as https:// if it is; see /health/ready"
        )


async def _look_after(streams: "_Streams", requests: "_Requests") -> None:
    while True:
        await asyncio.sleep(_LOOK_S)
        streams.give_up_silent()
        requests.give_up_unanswered()


class _Streams:
    """The streams that are held."""

    def __init__(self, server: Server, seen: Seen) -> None:
        self._server = server
        self._seen = seen
        self._request = server.request(_STREAM)
        self._opening: dict[Listening, asyncio.Event] = {}
        self._open: set[Listening] = set()

    async def open(self, count: int) -> None:
        """Open streams; returns when each has said hello, or is given up."""
        at_once = asyncio.Semaphore(_OPENING_AT_ONCE)
        async with asyncio.TaskGroup() as opening:
            for _ in range(count):
                opening.create_task(self._open_one(at_once))

    async def _open_one(self, at_once: asyncio.Semaphore) -> None:
        async with at_once:
            stream = Listening(self._note, self._lost)
            begun = self._opening[stream] = asyncio.Event()
            try:
                async with asyncio.timeout(_OPENING_S):
                    await self._server.connect(stream)
                    stream.send(self._request)
                    await begun.wait()
            except OSError as error:
                self._opening.pop(stream, None)
                stream.close()
                self._seen.errors[f"a stream did not open: {type(error).__name__}"] += 1

    def _note(self, stream: Listening, event: bytes) -> None:
        if event.startswith(b"id: "):
            published_ms = int(event[4 : event.index(b"-")])
            self._seen.delays_s.append(time.time() - published_ms / 1_000)
        elif event.startswith((b"event: gap", b"event: degraded")):
            self._seen.errors[f"a stream said {event.split()[1].decode()}"] += 1
        elif event.startswith(b"event: hello") and (begun := self._opening.pop(stream, None)) is not None:
            self._open.add(stream)
            self._seen.held += 1
            begun.set()

    def _lost(self, stream: Listening) -> None:
        if (begun := self._opening.pop(stream, None)) is not None:
            self._seen.errors[f"a stream was answered {stream.status or 'nothing'}"] += 1
            begun.set()
        elif stream in self._open:
            self._open.discard(stream)
            self._seen.errors["a stream ended"] += 1

    def give_up_silent(self) -> None:
        """Close streams that say nothing more."""
        silent_since_s = time.monotonic() - _SILENCE_MAX_S
        for stream in [stream for stream in self._open if stream.heard_s < silent_since_s]:
            self._open.discard(stream)
            self._seen.errors["a stream was silent"] += 1
            stream.close()

    def close(self) -> None:
        """Close them all."""
        held, self._open = self._open, set()
        for stream in held:
            stream.close()


class _Question(NamedTuple):
    route: str
    due_s: float


class _Requests:
    """Requests at a steady rate, over as many connections as are needed for it, within a bound."""

    def __init__(self, server: Server, seen: Seen) -> None:
        self._server = server
        self._seen = seen
        self._requests = {route: server.request(route) for route in ROUTES}
        self._waiting: deque[_Question] = deque()
        self._asked: dict[Asking, _Question] = {}
        self._idle: list[Asking] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def ask_all(self, rate: int, seconds: float) -> None:
        """Ask each request when it is due, and wait for the answers.

        One that finds no connection free waits for one; it is late then, and that shows.
        """
        total = round(rate * seconds)
        began_s = time.perf_counter()
        number = 0
        while number < total:
            now_s = time.perf_counter()
            while number < total and (due_s := began_s + number / rate) <= now_s:
                self._waiting.append(_Question(ROUTES[number % len(ROUTES)], due_s))
                number += 1
            self._ask_what_waits()
            await asyncio.sleep(began_s + number / rate - time.perf_counter())
        await self._finish(began_s + seconds + _GRACE_S)

    async def _finish(self, until_s: float) -> None:
        try:
            async with asyncio.timeout(until_s - time.perf_counter()):
                while self._waiting:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self._seen.errors["a request could not be sent in time"] += len(self._waiting)
            self._waiting.clear()
        while self._asked:
            self._changed.clear()
            await self._changed.wait()

    def _ask_what_waits(self) -> None:
        used_since_s = time.monotonic() - _IDLE_MAX_S
        while self._waiting and self._idle:
            # The one that was used last, so that those that are not needed stay idle, and are not used again.
            connection = self._idle.pop()
            if connection.heard_s < used_since_s:
                connection.close()
            elif not connection.is_closed:
                question = self._asked[connection] = self._waiting.popleft()
                connection.ask(self._requests[question.route])
        wanted = min(len(self._waiting), _CONNECTIONS_MAX - len(self._asked)) - len(self._connecting)
        for _ in range(wanted):
            connecting = asyncio.create_task(self._connect())
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        connection = Asking(self._answered, self._lost)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._server.connect(connection)
        except OSError as error:
            if self._waiting:
                self._fail(self._waiting.popleft(), type(error).__name__)
        else:
            self._idle.append(connection)
            self._ask_what_waits()

    def _answered(self, connection: Asking) -> None:
        question = self._asked.pop(connection, None)
        if question is None:
            return
        self._seen.latencies_s[question.route].append(time.perf_counter() - question.due_s)
        self._seen.answered_bytes += connection.body_bytes
        if connection.status != OK:
            self._seen.errors[f"{question.route}: {connection.status}"] += 1
        if not connection.is_closed:
            self._idle.append(connection)
        self._ask_what_waits()
        self._changed.set()

    def _lost(self, connection: Asking) -> None:
        question = self._asked.pop(connection, None)
        if question is not None:
            self._fail(question, "the connection was closed without an answer")

    def _fail(self, question: _Question, why: str) -> None:
        self._seen.errors[f"{question.route}: {why}"] += 1
        self._changed.set()

    def give_up_unanswered(self) -> None:
        """Close connections on which no answer comes."""
        asked_before_s = time.monotonic() - _TIMEOUT_S
        for connection in [connection for connection in self._asked if connection.heard_s < asked_before_s]:
            self._fail(self._asked.pop(connection), f"no answer within {_TIMEOUT_S:.0f} s")
            connection.close()

    def close(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            connection.close()
