"""`portfolio executions`."""

import asyncio
import contextlib
import logging
import signal
import socket
from typing import Annotated

import typer


def executions(
    *,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of this process in the consumer group; the host's when not given. Keep it over restarts."
        ),
    ] = None,
    claim_after: Annotated[
        float, typer.Option(help="Seconds after which another process's pending entries are taken over.", min=0.1)
    ] = 60.0,
) -> None:
    """Carry executions that trading bots announce in Redis to the topic portfolio.executions.

    Streams (PORTFOLIO_EXECUTION_STREAMS) are read through a consumer group, and an entry is acknowledged once Kafka has
    it: it may be killed at any moment, and nothing is lost. Channels (PORTFOLIO_EXECUTION_CHANNELS) are followed by
    pattern; Redis keeps nothing of them while nobody listens. Two processes at once need two names.

    Example: PORTFOLIO_EXECUTION_STREAMS=bot:fills portfolio executions --name bots-1
    """
    from infra.errors import RemediableError
    from infra.settings import Settings, load_settings
    from streams.executions.service import run_executions

    settings = load_settings()
    if not settings.execution_streams and not settings.execution_channels:
        remedy = "Set PORTFOLIO_EXECUTION_STREAMS or PORTFOLIO_EXECUTION_CHANNELS"
        raise RemediableError("there is no stream and no channel to read", remedy)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # While the brokers are away it writes hundreds of lines a second; what follows from it is logged by the service.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def run(settings: Settings) -> None:
        task = asyncio.create_task(
            run_executions(settings, consumer=name or socket.gethostname(), claim_after_s=claim_after)
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run(settings))
