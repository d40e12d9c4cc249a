"""Who may ask what. A request is let in before any route sees it; what is not known to be open is closed.

Where the API listens on this machine only, it is open without a key, to requests that name this machine as their host:
a page from elsewhere in a browser here cannot make it answer. A key that is sent counts, there as everywhere.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.throttle import Throttle
from infra.access_keys import SCOPES
from infra.access_keys import Scope as KeyScope
from infra.postgres.errors import DatabaseError

logger = logging.getLogger(__name__)

_SCOPE_OF: Final[tuple[tuple[str, KeyScope], ...]] = (
    ("/portfolio", "portfolio:read"),
    ("/metrics/", "portfolio:read"),
    ("/metrics", "admin:read"),
    ("/admin", "admin:read"),
)
"""The scope that paths need, by how they begin; the first that fits counts. `/metrics` itself is for Prometheus."""

_OPEN_PREFIXES: Final = ("/health/",)
_OPEN_SUFFIXES: Final = (".js", ".css", ".svg", ".html", ".ico")
_OPEN_PATHS: Final = frozenset({"/", "/openapi.json"})
_REFUSAL_PAUSE_S: Final = 0.25
_WS_REFUSED: Final = 3000
"""The WebSocket code for what HTTP calls 401 (IANA)."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request may do.

    Attributes:
        id: The key, or the person that a bearer token of others names; empty: nobody in particular.
        scopes: What it allows.
        accounts: The accounts that it may see; None: all.
    """

    id: str
    scopes: frozenset[KeyScope]
    accounts: frozenset[str] | None

    def may_see(self, account: str) -> bool:
        """Whether it may see an account."""
        return self.accounts is None or account in self.accounts


EVERYTHING: Final = Access("", frozenset(SCOPES), None)


class Refused(Exception):
    """A bearer token is not accepted; the text says why, and is for the log only."""


Authenticate = Callable[[str], Awaitable[Access]]
"""Gives what a bearer token allows.

Raises:
    Refused: It is not accepted.
    DatabaseUnavailable: It cannot be looked up.
"""


def scope_of(path: str) -> KeyScope | None:
    """The scope that a path needs; None: it is open."""
    if path in _OPEN_PATHS or path.startswith(_OPEN_PREFIXES):
        return None
    for prefix, scope in _SCOPE_OF:
        if path == prefix.rstrip("/") and not prefix.endswith("/"):
            return scope
        if path.startswith(prefix.rstrip("/") + "/"):
            return scope
    # The dashboard's own files hold no data.
    return None if path.count("/") == 1 and path.endswith(_OPEN_SUFFIXES) else "admin:read"


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in a URL without the port, is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def access_of(connection: HTTPConnection) -> Access:
    """What the request that is being answered may do."""
    access: Access = connection.state.access
    return access


class AccessControl:
    """Lets requests in, or answers 401, 403 or 429."""

    def __init__(self, app: ASGIApp, *, authenticate: Authenticate, throttle: Throttle, is_open: bool) -> None:
        """Guard an application.

        Args:
            app: The application.
            authenticate: What a bearer token allows.
            throttle: How often somebody may ask, or fail.
            is_open: Whether requests without a token are let in, if they name this machine as their host.
        """
        self._app = app
        self._authenticate = authenticate
        self._throttle = throttle
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        needed = scope_of(scope["path"]) if scope["type"] in {"http", "websocket"} else None
        if needed is None:
            await self._app(scope, receive, send)
            return
        try:
            access = await self._access(Headers(scope=scope), _client(scope))
            await self._require(access, needed)
        except _Problem as problem:
            await _answer(problem, scope, receive, send)
            return
        scope.setdefault("state", {})["access"] = access
        await self._app(scope, receive, send)

    async def _require(self, access: Access, needed: KeyScope) -> None:
        if needed not in access.scopes:
            raise _Problem(HTTPStatus.FORBIDDEN, f"This key does not have the scope {needed}.")
        if access.id and (wait_s := await self._throttle.seconds_to_wait(access.id)):
            raise _Problem(HTTPStatus.TOO_MANY_REQUESTS, "This key has asked too often.", {"Retry-After": str(wait_s)})

    async def _access(self, headers: Headers, client: str) -> Access:
        kind, _, token = headers.get("Authorization", "").partition(" ")
        if not token:
            return self._without_token(headers)
        if wait_s := await self._throttle.seconds_to_wait_after_failures(client):
            raise _Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "Too many keys from here were refused; wait, and then check the key.",
                {"Retry-After": str(wait_s)},
            )
        if kind.lower() != "bearer":
            raise _no_key("The authorization must be `Bearer KEY`.")
        try:
            return await self._authenticate(token.strip())
        except DatabaseError as error:
            raise _Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "Keys cannot be looked up now; try again shortly.", {"Retry-After": "2"}
            ) from error
        except Refused as refusal:
            logger.warning("a request from %s is refused: %s", client, refusal)
            await self._throttle.failed(client, str(refusal))
            await asyncio.sleep(_REFUSAL_PAUSE_S)
            raise _no_key("The key is not accepted: it is unknown, expired or revoked.") from refusal

    def _without_token(self, headers: Headers) -> Access:
        if not self._is_open:
            raise _no_key("Send a key: `Authorization: Bearer KEY`; `portfolio keys create NAME` makes one.")
        host = headers.get("Host", "")
        if not _is_this_machine(host):
            raise _Problem(
                HTTPStatus.FORBIDDEN,
                f"Without a key the API answers only as localhost, not as {host[:80]!r}; use that, or send a key.",
            )
        return EVERYTHING


@lru_cache(maxsize=64)
def _is_this_machine(host: str) -> bool:
    """Whether a field `Host` names this machine. Most requests say the same there, and taking it apart is slow."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


class _Problem(Exception):
    def __init__(self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def _no_key(detail: str) -> _Problem:
    return _Problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": 'Bearer realm="portfolio"'})


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


async def _answer(problem: _Problem, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": _WS_REFUSED, "reason": problem.detail[:120]})
        return
    answer = problems.problem(Request(scope), problem.status, problem.detail, problem.headers)
    await answer(scope, receive, send)
