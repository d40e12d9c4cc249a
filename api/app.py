"""The application: routes, errors, headers, and what they need."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import document, problems, revalidation, schemas
from api.access import AccessControl, is_loopback
from api.answer_cache import AnswerCache
from api.authentication import Authenticator
from api.dependencies import Services
from api.live.hub import Hub
from api.routes import admin, books, curves, health, metrics, monitoring, portfolio, stream
from api.telemetry import REQUEST_ID, ApiMeter, RequestTelemetry
from api.throttle import Throttle
from infra.cancellation import end
from infra.postgres.configuration import described_settings
from infra.postgres.reader import Reader
from infra.redis.access import AccessNotes
from infra.redis.client import RedisClient
from infra.redis.live import LiveFeed
from infra.settings import Settings
from infra.telemetry.sharing import MetricsStore, share_metrics

_DASHBOARD: Final = Path(__file__).parent / "dashboard"

# Smaller answers fit in one packet as they are; higher levels cost more time than they save on the way.
_COMPRESSED_FROM_BYTES: Final = 1_024
_COMPRESSION_LEVEL: Final = 4

_ROUTES: Final = (portfolio, curves, books, stream, metrics, monitoring, health, admin)

_HEADERS: Final = tuple(
    (name.lower().encode(), value.encode())
    for name, value in {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Cache-Control": "no-cache",
    }.items()
)
"""As they are sent: this is on the way of every answer."""


def create_app(settings: Settings) -> FastAPI:
    """Make the application.

    It starts whether or not the servers it needs are there, answers 503 while Postgres is away, and needs Redis for
    speed only.

    Args:
        settings: Where Postgres, Redis and Kafka are, and which account is followed.
    """
    services = Services(
        settings=settings, reader=Reader(settings.database_read_dsn), redis=RedisClient(settings.redis_dsn)
    )
    notes = AccessNotes(settings.redis_dsn)
    throttle = Throttle(settings.redis_dsn, notes, requests_per_minute=settings.api_rate_per_minute)
    hub = Hub(LiveFeed(settings.redis_dsn), services.reader.log_positions)
    meter, store = ApiMeter(services, hub), MetricsStore(settings.redis_dsn)

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = services
        app.state.hub = hub
        app.state.meter, app.state.metrics = meter, store
        running = [
            asyncio.create_task(hub.run(), name="live feed"),
            asyncio.create_task(share_metrics(settings.redis_dsn, "api", meter.collect), name="metrics"),
            asyncio.create_task(notes.announce_settings("api", described_settings(settings)), name="settings"),
        ]
        try:
            yield
        finally:
            await end(running)
            await store.close()
            await throttle.close()
            await notes.close()
            await services.reader.close()
            await services.redis.close()

    app = FastAPI(
        title="Portfolio Service",
        version=_version(),
        description=schemas.__doc__ or "",
        lifespan=opened,
        docs_url=None,
        redoc_url=None,
        # What is measured and traced is ours; FastAPI's own would look for its configuration at each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    problems.install(app)
    revalidation.install(app)
    for module in _ROUTES:
        app.include_router(module.router)
    document.install(app)
    app.mount("/", StaticFiles(directory=_DASHBOARD, html=True), name="dashboard")
    # The last that is added is the first to see a request.
    app.add_middleware(GZipMiddleware, minimum_size=_COMPRESSED_FROM_BYTES, compresslevel=_COMPRESSION_LEVEL)
    app.add_middleware(AnswerCache, version=services.reader.version)
    app.add_middleware(
        AccessControl,
        authenticate=Authenticator(settings, services.reader, notes),
        throttle=throttle,
        is_open=is_loopback(settings.host),
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(settings.cors_origins),
            allow_methods=["GET"],
            allow_headers=["Authorization", "If-None-Match", "Last-Event-ID", REQUEST_ID],
            expose_headers=["ETag", "Link", "X-Log-Position", "X-Next-Cursor", REQUEST_ID],
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestTelemetry, templates=_templates())
    return app


def _templates() -> list[str]:
    return ["/openapi.json", *(route.path for module in _ROUTES for route in module.router.routes)]


class SecurityHeaders:
    """Adds to every answer what a browser should not do with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to what is sent back."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in _HEADERS if each[0] not in told)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _version() -> str:
    try:
        return version("portfolio-service")
    except PackageNotFoundError:
        return "0"
