"""`portfolio gateway`."""

import asyncio
import contextlib
import logging
import signal
from typing import Annotated

import typer

from infra.errors import RemediableError
from infra.settings import Settings, load_settings


def gateway(
    *,
    account: Annotated[
        str | None, typer.Option(help="Name of the account on the log; PORTFOLIO_ACCOUNT when not given.")
    ] = None,
) -> None:
    """Carry account events and marks from Binance to Kafka. It only reads: it has no way to send an order.

    At the start it goes on where the log ends: trades that were missed are read over REST, then events are carried as
    they happen. It may be stopped or killed at any moment; nothing is lost and nothing is counted twice.

    BINANCE_API_KEY and BINANCE_SECRET_KEY name the account (a read-only key is enough); BINANCE_REST_URL,
    BINANCE_WS_API_URL and BINANCE_STREAM_URL lead to another exchange that speaks Binance's language.

    Example: BINANCE_API_KEY=... BINANCE_SECRET_KEY=... portfolio gateway
    """
    settings = load_settings()
    if account is not None:
        settings = settings.model_copy(update={"account": account})
    for name, value in (
        ("BINANCE_API_KEY", settings.binance_api_key),
        ("BINANCE_SECRET_KEY", settings.binance_secret_key),
    ):
        if value is None:
            raise RemediableError(f"{name} is not set", f"Set {name}, or use `portfolio up` for a simulated exchange")
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # At DEBUG these write every frame, and with the subscription the key and its signature.
    for name in ("websockets", "binance"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # While the brokers are away it writes hundreds of lines a second; what follows from it is logged by the gateway.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    from streams.gateway import run_gateway

    task = asyncio.create_task(run_gateway(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
