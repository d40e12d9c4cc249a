"""Answers that were given before, as long as the database is what it was.

What tells whether it is, is Postgres' own snapshot: two questions that see the same transactions get the same answer.
It is asked for each request after the request has come, so no answer is older than the request; requests that come
while it is being asked, or just after that, share the next asking. Answers are shared in the same way: what is begun
after a request has come is good for it, whatever the database has become since. So however fast books move and however
many ask, each answer is made once at a time.
"""

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
from api.shared import Shared
from infra.postgres.errors import DatabaseError
from infra.telemetry.metrics import API_CACHE

logger = logging.getLogger(__name__)

_PREFIXES: Final = ("/portfolio/", "/metrics/")
_STREAM: Final = "/portfolio/stream"
_ENTRIES_MAX: Final = 2_000
_BODY_MAX: Final = 1024 * 1024
_BYTES_MAX: Final = 64 * 1024 * 1024
_ASKED_EVERY_S: Final = 0.005
"""How often Postgres is asked at most: who asks alone waits for nothing, and a crowd costs no more than this."""
_NOT_MODIFIED_HEADERS: Final = (b"etag", b"x-log-position", b"vary")

Key = tuple[str, bytes, frozenset[str] | None, bool]
"""Path, query, accounts that may be seen, and whether the client takes gzip."""

Version = Callable[[], Awaitable[str]]
"""What the database is now."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the application sent.

    Attributes:
        version: What the database was when it began; empty: the answer is not to be given again.
        etag: Its tag; empty: it has none.
    """

    version: str
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    etag: str


class AnswerCache:
    """Gives answers again. It comes after the access control, which has seen every request."""

    def __init__(self, app: ASGIApp, *, version: Version) -> None:
        """Stand before an application.

        Args:
            app: The application.
            version: What the database is now.
        """
        self._app = app
        self._version = Shared(version, every_s=_ASKED_EVERY_S)
        self._answers: OrderedDict[Key, _Answer] = OrderedDict()
        self._bytes = 0
        self._making: dict[Key, Shared[_Answer]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from what is kept, or let the application answer and keep it."""
        if not _is_kept(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = (
            scope["path"],
            scope["query_string"],
            access_of(HTTPConnection(scope)).accounts,
            "gzip" in headers.get("Accept-Encoding", ""),
        )
        answer = self._find(key, await self._version_now())
        API_CACHE.labels("answers", "miss" if answer is None else "hit").inc()
        await _give(await self._made(key, scope) if answer is None else answer, headers, send)

    async def _version_now(self) -> str:
        """What the database is; empty when it does not answer."""
        try:
            return await self._version.now()
        except (DatabaseError, OSError) as error:
            logger.debug("answers cannot be kept: %s", error)
            return ""

    def _find(self, key: Key, version: str) -> _Answer | None:
        answer = self._answers.get(key)
        if answer is None or answer.version != version:
            return None
        self._answers.move_to_end(key)
        return answer

    async def _made(self, key: Key, scope: Scope) -> _Answer:
        """The answer, begun no earlier than this call, and made once for all who want it."""
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = Shared(lambda: self._make(key, scope))
        try:
            return await making.now()
        finally:
            if not making.is_wanted and self._making.get(key) is making:
                del self._making[key]

    async def _make(self, key: Key, scope: Scope) -> _Answer:
        version = await self._version_now()
        if (answer := self._find(key, version)) is not None:
            return answer
        # What the client knows already is compared later, so that the answer itself can be kept.
        headers = [(name, value) for name, value in scope["headers"] if name != b"if-none-match"]
        messages: list[Message] = []
        unconditional = {**scope, "headers": headers, "state": {**scope["state"]}}
        await self._app(unconditional, _nothing_more, _collector(messages))
        answer = _answer_of(messages, version)
        if answer.version and answer.etag:
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


async def _nothing_more() -> Message:
    """The body of a request that has none."""
    return {"type": "http.request", "body": b"", "more_body": False}


def _answer_of(messages: list[Message], version: str) -> _Answer:
    start, *rest = messages
    headers, status = list(start["headers"]), start["status"]
    etag = next((value.decode() for name, value in headers if name == b"etag"), "")
    is_good = status == 200  # noqa: PLR2004 - OK
    body = b"".join(message.get("body", b"") for message in rest)
    return _Answer(version if is_good else "", status, headers, body, etag if is_good else "")


async def _give(answer: _Answer, headers: Headers, send: Send) -> None:
    if answer.etag and is_known(answer.etag, headers.getlist("If-None-Match")):
        kept = [(name, value) for name, value in answer.headers if name in _NOT_MODIFIED_HEADERS]
        await send({"type": "http.response.start", "status": 304, "headers": kept})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
    await send({"type": "http.response.body", "body": answer.body})
