"""`portfolio demo`: a bot that trades on the simulated exchange."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.settings import Settings


def demo(
    url: Annotated[
        str | None,
        typer.Option(help="The simulated exchange; unset: BINANCE_REST_URL, or the local exchange when that is real."),
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(
            help="Its account, for deposits and withdrawals; unset: every account of portfolio.toml, or demo."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Makes the choices repeatable.")] = 0,
    speed: Annotated[float, typer.Option(min=0.01, max=100, help="1: an action about every two seconds.")] = 1.0,
) -> None:
    """Trade on the simulated exchange: fills, partial fills, cancels, fees in BNB, deposits, withdrawals."""
    import asyncio
    import logging
    from contextlib import suppress

    from infra.exchange.demo import DemoOptions, NotSimulatedError, run_demo
    from infra.settings import Settings, load_settings
    from infra.telemetry.logs import configure_logging

    settings = load_settings()
    configure_logging(settings, "demo")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    is_real = settings.binance_rest_url == Settings.model_fields["binance_rest_url"].default
    local_url = f"http://127.0.0.1:{settings.exchange_port}"
    base_url = url or (local_url if is_real else settings.binance_rest_url)
    traders = [
        DemoOptions(url=base_url, account=name, key=key, secret=secret, seed=seed + number, speed=speed)
        for number, (name, key, secret) in enumerate(_keys(settings, account))
    ]

    async def trade() -> None:
        await asyncio.gather(*(run_demo(options) for options in traders))

    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(trade())
    except NotSimulatedError as error:
        typer.echo(f"demo: {error}", err=True)
        raise typer.Exit(2) from None


def _keys(settings: "Settings", account: str | None) -> list[tuple[str, str, str]]:
    """Name, key and secret of each account that trades."""
    from infra.errors import RemediableError
    from infra.exchange.app import DEMO_KEY
    from infra.portfolio_file import load_portfolio_file, simulated_key

    file = load_portfolio_file(settings)
    names = [name for name, table in file.accounts.items() if table.source == "binance"]
    if file.exchange != "simulated" or not names:
        key, secret = settings.binance_api_key, settings.binance_secret_key
        return [
            (
                account or DEMO_KEY.account,
                key.get_secret_value() if key else DEMO_KEY.key,
                secret.get_secret_value() if secret else DEMO_KEY.secret,
            )
        ]
    if account is not None and account not in names:
        raise RemediableError(f"there is no account {account} to trade in", f"The accounts are {', '.join(names)}")
    keys = {name: simulated_key(name) for name in names if account in {None, name}}
    return [(name, key.key.get_secret_value(), key.secret.get_secret_value()) for name, key in keys.items()]
