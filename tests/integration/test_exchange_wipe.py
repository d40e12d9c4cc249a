"""The exchange forgets everything, as the testnet does each month, and the gateway goes on."""

import secrets
import signal
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from infra.exchange.app import ExchangeOptions, running_exchange
from infra.exchange.security import AccountKey
from infra.settings import Settings
from portfolio.events import Fill
from portfolio.valuation import value_book
from streams.creation import ensure_topics
from tests.support.gateway import GatewayProcess, Trader, eventually, folded, holdings, read_log

pytestmark = [pytest.mark.integration, pytest.mark.slow]


async def test_a_wiped_account_is_followed_on_and_what_was_before_stays(
    kafka_brokers: str, redis_url: str, tmp_path: Path
) -> None:
    account = f"account-{secrets.token_hex(4)}"
    key = AccountKey(account, "test-key", "test-secret")
    async with running_exchange(ExchangeOptions(accounts=(key,))) as url:
        address = url.removeprefix("http://")
        settings = Settings(
            binance_api_key=SecretStr("test-key"),
            binance_secret_key=SecretStr("test-secret"),
            binance_rest_url=url,
            binance_ws_api_url=f"ws://{address}/ws-api/v3",
            binance_stream_url=f"ws://{address}",
            kafka_brokers=kafka_brokers,
            redis_url=SecretStr(redis_url),
            account=account,
            balance_sync_interval_s=1.0,
            data_dir=tmp_path / "data",
        )
        await ensure_topics(settings, on_wait=lambda _line: None, timeout_s=30)
        trader = Trader(url, account, "test-key", "test-secret")
        gateway = GatewayProcess(settings, tmp_path / "gateway.log")

        async def fills() -> list[int]:
            events = [event for record in await read_log(settings) for event in record.events]
            return [event.trade_id for event in events if isinstance(event, Fill)]

        async def agrees() -> bool:
            book, _ = await folded(settings)
            return bool(book.holdings) and holdings(book) == await trader.totals()

        try:
            await gateway.start()
            await eventually(agrees, what=lambda: gateway.output)
            await trader.market_order("BTCUSDT", "BUY", "0.02")
            before = [trade["id"] for trade in (await trader.books())["trades"]]
            await eventually(agrees, what=lambda: gateway.output)
            before_wipe, _ = await folded(settings)

            async with httpx.AsyncClient(base_url=url) as operator:
                (await operator.post("/operator/faults", json={"kind": "wipe"})).raise_for_status()
            assert (await trader.totals())["USDT"] == Decimal(25_000)
            await trader.market_order("BTCUSDT", "BUY", "0.01")
            after = [trade["id"] for trade in (await trader.books())["trades"]]
            await eventually(agrees, what=lambda: gateway.output)
        finally:
            await gateway.stop(signal.SIGKILL)
            await trader.close()

        book, _ = await folded(settings)
        assert await fills() == [*before, *after]
        assert value_book(book).identity_error == 0
        # 0.02 BTC and what they had cost are gone: paid in and out at their price, which is no loss of 1,200 USDT.
        assert abs(book.realized - before_wipe.realized) < 50
