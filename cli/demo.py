"""`portfolio demo`: a bot that trades on the simulated exchange."""

from typing import Annotated

import typer


def demo(
    url: Annotated[
        str | None,
        typer.Option(help="The simulated exchange; unset: BINANCE_REST_URL, or the local exchange when that is real."),
    ] = None,
    account: Annotated[str, typer.Option(help="Its account, for deposits and withdrawals.")] = "demo",
    seed: Annotated[int, typer.Option(help="Makes the choices repeatable.")] = 0,
    speed: Annotated[float, typer.Option(min=0.01, max=100, help="1: an action about every two seconds.")] = 1.0,
) -> None:
    """Trade on the simulated exchange: fills, partial fills, cancels, fees in BNB, deposits, withdrawals."""
    import asyncio
    import logging
    from contextlib import suppress

    from infra.exchange.app import DEMO_KEY
    from infra.exchange.demo import DemoOptions, NotSimulatedError, run_demo
    from infra.settings import Settings, load_settings

    settings = load_settings()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    is_real = settings.binance_rest_url == Settings.model_fields["binance_rest_url"].default
    local_url = f"http://127.0.0.1:{settings.exchange_port}"
    key, secret = settings.binance_api_key, settings.binance_secret_key
    options = DemoOptions(
        url=url or (local_url if is_real else settings.binance_rest_url),
        account=account,
        key=key.get_secret_value() if key else DEMO_KEY.key,
        secret=secret.get_secret_value() if secret else DEMO_KEY.secret,
        seed=seed,
        speed=speed,
    )
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(run_demo(options))
    except NotSimulatedError as error:
        typer.echo(f"demo: {error}", err=True)
        raise typer.Exit(2) from None
