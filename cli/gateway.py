"""`portfolio gateway`."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence
from typing import Annotated

import typer

from infra.portfolio_file import AccountConfig, load_accounts, select_accounts
from infra.settings import Settings, load_settings


def gateway(
    *,
    account: Annotated[
        list[str] | None, typer.Option(help="Follow only this account of portfolio.toml; repeatable.")
    ] = None,
) -> None:
    """Carry account events and marks from Binance to Kafka. It only reads: it has no way to send an order.

    At the start it goes on where the log ends: trades that were missed are read over REST, then events are carried as
    they happen. It may be stopped or killed at any moment; nothing is lost and nothing is counted twice.

    The accounts are those of portfolio.toml (PORTFOLIO_CONFIG), each with its key. Without that file there is one,
    PORTFOLIO_ACCOUNT, with BINANCE_API_KEY and BINANCE_SECRET_KEY (a read-only key is enough). BINANCE_REST_URL,
    BINANCE_WS_API_URL and BINANCE_STREAM_URL lead to another exchange that speaks Binance's language. An account whose
    key is refused does not hold up the others. Several gateways may share the accounts; each account needs exactly one.

    Example: BINANCE_API_KEY=... BINANCE_SECRET_KEY=... portfolio gateway

    Example: portfolio gateway --account main --account hedge
    """
    from cli.pipeline import with_simulated_exchange
    from infra.telemetry.logs import configure_logging
    from infra.telemetry.traces import configure_tracing

    settings = with_simulated_exchange(load_settings())
    accounts = select_accounts(load_accounts(settings), account or [])
    configure_logging(settings, "gateway")
    configure_tracing(settings, "gateway")
    # At DEBUG these write every frame, and with the subscription the key and its signature.
    for name in ("websockets", "binance"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # While the brokers are away it writes hundreds of lines a second; what follows from it is logged by the gateway.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    asyncio.run(_run(settings, accounts))


async def _run(settings: Settings, accounts: Sequence[AccountConfig]) -> None:
    from infra.postgres.configuration import keep_trying_to_note
    from streams.gateway.service import run_gateway

    task = asyncio.create_task(run_gateway(settings, accounts))
    noting = asyncio.create_task(keep_trying_to_note(settings, "gateway"))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    noting.cancel()
