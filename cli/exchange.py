"""`portfolio exchange`: the simulated exchange."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.exchange.app import ExchangeOptions


def exchange(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port to listen on; unset: PORTFOLIO_EXCHANGE_PORT.")] = None,
    account: Annotated[
        list[str] | None,
        typer.Option(
            # Rich would show an emoji for the middle of NAME:KEY:SECRET.
            help="Name, key and secret with colons between, repeatable; unset: PORTFOLIO_EXCHANGE_ACCOUNTS "
            "(several, by spaces), then demo:demo-key:demo-secret."
        ),
    ] = None,
    speed: Annotated[str, typer.Option(help="How much faster than recorded the market goes, 0.1 to 100.")] = "1",
    seed: Annotated[
        int, typer.Option(help="Where in the recording the market is, and how generated symbols move.")
    ] = 0,
    symbols: Annotated[
        str, typer.Option(help="More symbols, by commas, with a market made by the seed: SOLUSDT,ADAUSDT,SOLBTC.")
    ] = "",
    faults: Annotated[
        Path | None, typer.Option(help="A plan of faults (JSON): what goes wrong and when; see docs/exchange.md.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Directory of the journal; unset: exchange/ in the data directory.")
    ] = None,
) -> None:
    """Run a simulated Binance: REST, WebSocket API and market streams over a recorded market."""
    import asyncio
    import logging

    from infra.exchange.app import DEMO_KEY, ExchangeOptions
    from infra.exchange.fault_plans import FaultPlan, load_plan
    from infra.exchange.generated import parse_symbols
    from infra.exchange.journal import JournalError
    from infra.exchange.market import parse_speed
    from infra.exchange.security import AccountKey
    from infra.settings import load_settings

    settings = load_settings()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    named = account or os.environ.get("PORTFOLIO_EXCHANGE_ACCOUNTS", "").split()
    try:
        options = ExchangeOptions(
            host=host,
            port=settings.exchange_port if port is None else port,
            accounts=tuple(AccountKey.parse(each) for each in named) or (DEMO_KEY,),
            speed=parse_speed(speed),
            seed=seed,
            symbols=parse_symbols(symbols),
            faults=load_plan(faults) if faults is not None else FaultPlan(),
            state=state or settings.data_dir / "exchange",
        )
        asyncio.run(_serve(options))
    except (ValueError, JournalError) as error:
        typer.echo(f"exchange: {error}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"exchange: {error}; choose another address with --host and --port", err=True)
        raise typer.Exit(1) from None


async def _serve(options: "ExchangeOptions") -> None:
    import asyncio
    import signal

    from infra.exchange.app import running_exchange

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_exchange(options) as url:
        typer.echo(f"simulated exchange at {url} (state in {options.state})")
        await stop.wait()
