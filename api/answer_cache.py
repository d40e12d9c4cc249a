"""Answers that were given before, as long as the database is what it was.

What tells whether it is, is Postgres' own snapshot: two questions that see the same transactions get the same answer.
It is asked for each request after the request has come, so no answer is older than the request; requests that come
while it is being asked share the next asking.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import access_of
from api.revalidation import is_known
from infra.postgres.errors import DatabaseError
from infra.telemetry.metrics import API_CACHE

logger = logging.getLogger(__name__)

_PREFIXES: Final = ("/portfolio/", "/metrics/")
_STREAM: Final = "/portfolio/stream"
_ENTRIES_MAX: Final = 2_000
_BODY_MAX: Final = 1024 * 1024
_BYTES_MAX: Final = 64 * 1024 * 1024
_NOT_MODIFIED_HEADERS: Final = (b"etag", b"x-log-position", b"vary")

Key = tuple[str, bytes, frozenset[str] | None, bool]
"""Path, query, accounts that may be seen, and whether the client takes gzip."""

Version = Callable[[], Awaitable[str]]
"""What the database is now."""


@dataclass(frozen=True, slots=True)
class _Answer:
    version: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    etag: str


class Versions:
    """What the database is, asked once for all who want to know at the same time."""

    def __init__(self, ask: Version) -> None:
        """Prepare.

        Args:
            ask: Asks the database.
        """
        self._ask = ask
        self._next: asyncio.Future[str] | None = None
        self._asking: asyncio.Task[None] | None = None

    async def now(self) -> str:
        """What it is now, asked no earlier than this call.

        Raises:
            DatabaseError: It does not answer.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        waiting = self._next
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answer())
        return await asyncio.shield(waiting)

    async def _answer(self) -> None:
        while (waiting := self._next) is not None:
            self._next = None
            try:
                version = await self._ask()
            except (DatabaseError, OSError) as error:
                waiting.set_exception(error)
                waiting.exception()  # there may be nobody left who wants to know
            else:
                waiting.set_result(version)


class AnswerCache:
    """Gives answers again. It comes after the access control, which has seen every request."""

    def __init__(self, app: ASGIApp, *, version: Version) -> None:
        """Stand before an application.

        Args:
            app: The application.
            version: What the database is now.
        """
        self._app = app
        self._versions = Versions(version)
        self._answers: OrderedDict[Key, _Answer] = OrderedDict()
        self._bytes = 0
        self._computing: dict[Key, asyncio.Lock] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from what is kept, or let the application answer and keep it."""
        if not _is_kept(scope):
            await self._app(scope, receive, send)
            return
        try:
            version = await self._versions.now()
        except DatabaseError as error:
            logger.debug("answers cannot be kept: %s", error)
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = (
            scope["path"],
            scope["query_string"],
            access_of(HTTPConnection(scope)).accounts,
            "gzip" in headers.get("Accept-Encoding", ""),
        )
        answer = self._find(key, version)
        API_CACHE.labels("answers", "miss" if answer is None else "hit").inc()
        if answer is None:
            answer = await self._computed(key, version, scope, receive, send)
        if answer is not None:
            await _give(answer, headers, send)

    def _find(self, key: Key, version: str) -> _Answer | None:
        answer = self._answers.get(key)
        if answer is None or answer.version != version:
            return None
        self._answers.move_to_end(key)
        return answer

    async def _computed(self, key: Key, version: str, scope: Scope, receive: Receive, send: Send) -> _Answer | None:
        """The answer, made once for all who want it now; None where it is not one to be kept and was sent."""
        lock = self._computing.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                return self._find(key, version) or await self._compute(key, version, scope, receive, send)
        finally:
            if not lock.locked():
                self._computing.pop(key, None)

    async def _compute(self, key: Key, version: str, scope: Scope, receive: Receive, send: Send) -> _Answer | None:
        # What the client knows already is compared later, so that the answer itself can be kept.
        asked = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"if-none-match"]}
        messages: list[Message] = []
        await self._app(asked, receive, _collector(messages))
        answer = _answer_of(messages, version)
        if answer is None:
            for message in messages:
                await send(message)
            return None
        self._keep(key, answer)
        return answer

    def _keep(self, key: Key, answer: _Answer) -> None:
        if (before := self._answers.pop(key, None)) is not None:
            self._bytes -= len(before.body)
        if len(answer.body) > _BODY_MAX:
            return
        self._answers[key] = answer
        self._bytes += len(answer.body)
        while len(self._answers) > _ENTRIES_MAX or self._bytes > _BYTES_MAX:
            _, oldest = self._answers.popitem(last=False)
            self._bytes -= len(oldest.body)


def _is_kept(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    path: str = scope["path"]
    return path.startswith(_PREFIXES) and path != _STREAM


def _collector(messages: list[Message]) -> Send:
    async def collect(message: Message) -> None:
        messages.append(message)

    return collect


def _answer_of(messages: list[Message], version: str) -> _Answer | None:
    """The answer that messages make, if it is one to be given again."""
    start, *rest = messages
    if start["type"] != "http.response.start" or start["status"] != 200:  # noqa: PLR2004 - OK
        return None
    headers = list(start["headers"])
    etag = next((value.decode() for name, value in headers if name == b"etag"), "")
    return _Answer(version, headers, b"".join(message.get("body", b"") for message in rest), etag) if etag else None


async def _give(answer: _Answer, headers: Headers, send: Send) -> None:
    if is_known(answer.etag, headers.getlist("If-None-Match")):
        kept = [(name, value) for name, value in answer.headers if name in _NOT_MODIFIED_HEADERS]
        await send({"type": "http.response.start", "status": 304, "headers": kept})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": 200, "headers": list(answer.headers)})
    await send({"type": "http.response.body", "body": answer.body})
