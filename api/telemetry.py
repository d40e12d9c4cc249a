"""What the API tells of itself: how long requests take, and which lines of the log belong to which request."""

import itertools
import re
import secrets
import time
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.dependencies import Services
from api.live.hub import Hub
from infra.telemetry.logs import keep_log_context
from infra.telemetry.metrics import (
    API_IN_PROGRESS,
    API_LIVE_READERS,
    API_REQUESTS,
    READER_CONNECTIONS,
)

REQUEST_ID: Final = "X-Request-ID"

# What is random is asked of the system once, not for each request.
_ID_HEAD: Final = secrets.token_hex(10)
_ID_NUMBERS: Final = itertools.count(1)
_ACCEPTED_ID: Final = re.compile(r"[\w.:/-]{1,100}", re.ASCII)
_OTHER: Final = "(other)"
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class RouteTemplates:
    """Names a request's route by its template, so that there are as many names as routes, whatever is asked for."""

    def __init__(self, templates: Iterable[str]) -> None:
        """Prepare.

        Args:
            templates: The paths of all routes, with their parameters in braces.
        """
        self._exact = frozenset(templates)
        self._patterns = [(compile_path(each)[0], each) for each in sorted(self._exact) if "{" in each]

    def name(self, path: str) -> str:
        """The template of a path; `(other)` for the dashboard's files, and for what is nowhere."""
        if path in self._exact:
            return path
        return next((template for pattern, template in self._patterns if pattern.match(path)), _OTHER)


class RequestTelemetry:
    """Measures requests, and gives each an id: the client's own in `X-Request-ID`, or a new one."""

    def __init__(self, app: ASGIApp, *, templates: Iterable[str]) -> None:
        """Stand before an application.

        Args:
            app: The application.
            templates: The paths of its routes.
        """
        self._app = app
        self._templates = RouteTemplates(templates)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and tell of it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        # For the rest of its task, which answers nothing else: who catches what leaves here logs of it too.
        keep_log_context(request_id=request_id)
        with API_IN_PROGRESS.track_inprogress():
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
            else:
                await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        began_s = time.perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else _OTHER
        route = self._templates.name(scope["path"])
        is_begun = False

        async def send_measured(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
                API_REQUESTS.labels(method, route, str(message["status"])).observe(time.perf_counter() - began_s)
            await send(message)

        try:
            await self._app(scope, receive, send_measured)
        except Exception:
            if not is_begun:
                API_REQUESTS.labels(method, route, "500").observe(time.perf_counter() - began_s)
            raise


class ApiMeter:
    """Measures what is not counted where it happens."""

    def __init__(self, services: Services, hub: Hub) -> None:
        """Prepare.

        Args:
            services: What the application has opened.
            hub: Who reads the live stream.
        """
        self._services = services
        self._hub = hub

    def collect(self) -> None:
        """Bring the metrics up to date."""
        API_LIVE_READERS.set(self._hub.readers)
        for state, connections in self._services.reader.connections.items():
            READER_CONNECTIONS.labels(state).set(connections)


def _request_id(scope: Scope) -> str:
    told = Headers(scope=scope).get(REQUEST_ID, "")
    return told if _ACCEPTED_ID.fullmatch(told) else f"{_ID_HEAD}{next(_ID_NUMBERS):012x}"
