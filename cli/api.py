"""`portfolio api`."""

import gc
import logging
from typing import Annotated, Final

import typer

logger = logging.getLogger(__name__)

_FILES: Final = 8_192
"""Each live stream and each connection is one."""

_ALLOCATIONS: Final = 20_000
"""Objects that may become more before the youngest are looked through."""


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: PORTFOLIO_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; default: PORTFOLIO_PORT.")
    ] = None,
) -> None:
    """Serve the REST API and the dashboard.

    It reads Postgres and Redis and starts without them; /health/ready tells when it is of use. Where --host is not this
    machine alone, every request needs a key: `portfolio keys create NAME`.

    Example: portfolio api --port 8080
    """
    import uvicorn

    from api.app import create_app
    from infra.embedded.checks import require_free_port
    from infra.errors import RemediableError
    from infra.open_files import REMEDY, allow_open_files
    from infra.settings import load_settings
    from infra.telemetry.logs import configure_logging

    settings = load_settings()
    host, port = host or settings.host, settings.port if port is None else port
    if ":" not in host:  # the check is for IPv4 addresses and names
        require_free_port(port, purpose="the API", setting="PORTFOLIO_PORT or --port", host=host)
    configure_logging(settings, "api")
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise RemediableError(
            "a certificate needs its key, and a key its certificate",
            "Set both PORTFOLIO_TLS_CERTIFICATE and PORTFOLIO_TLS_KEY",
        )
    if (allowed := allow_open_files(_FILES)) < _FILES:
        logger.warning("no more than %d files may be open, live streams among them. %s", allowed, REMEDY)
    # Whether a key is asked for depends on who can reach it, so the application must know where it listens.
    app = create_app(settings.model_copy(update={"host": host}))
    _collect_seldom()
    uvicorn.run(
        app,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        host=host,
        port=port,
        log_config=None,
        access_log=settings.log_level == "DEBUG",
        server_header=False,
        timeout_graceful_shutdown=5,
    )


def _collect_seldom() -> None:
    """Have the garbage collector look at what is there now never again, and at what comes less often.

    What was imported lives as long as the process. To look through it took 90 ms every few thousand requests, in which
    nobody was answered, and was half of what a kept answer cost; with hundreds of streams the rest was a seventh.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
