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
            help="Name, key and secret with colons between, and what the key may do (read, trade, withdraw), "
            "repeatable; unset: PORTFOLIO_EXCHANGE_ACCOUNTS (several, by spaces), then demo:demo-key:demo-secret."
        ),
    ] = None,
    accounts: Annotated[
        Path | None,
        typer.Option(help="More accounts (TOML), with balances, keys and trade groups; see docs/exchange.md."),
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
    """Run a simulated Binance: REST, WebSocket API and market streams over a recorded market.

    Any Binance client works against it, with its base addresses changed. What moves accounts besides trades, faults,
    symbols that are halted, the exact books and the weight that was used are under /operator/; docs/exchange.md tells.

    Example: portfolio exchange --port 18080 --symbols SOLUSDT,ADAUSDT --speed 5 --account main:my-key:my-secret:read
    """
    import asyncio

    from infra.exchange.accounts import load_accounts
    from infra.exchange.app import DEMO_KEY, ExchangeOptions
    from infra.exchange.fault_plans import FaultPlan, load_plan
    from infra.exchange.generated import parse_symbols
    from infra.exchange.journal import JournalError
    from infra.exchange.market import parse_speed
    from infra.exchange.security import AccountKey
    from infra.settings import load_settings
    from infra.telemetry.logs import configure_logging

    settings = load_settings()
    configure_logging(settings, "exchange")
    named = account or os.environ.get("PORTFOLIO_EXCHANGE_ACCOUNTS", "").split()
    try:
        described = () if accounts is None else load_accounts(accounts)
        options = ExchangeOptions(
            host=host,
            port=settings.exchange_port if port is None else port,
            accounts=tuple(AccountKey.parse(each) for each in named) or (() if described else (DEMO_KEY,)),
            described=described,
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
