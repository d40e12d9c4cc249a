"""The exchange forgets everything, as the testnet does each month, and the gateway goes on."""

import signal
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from portfolio.events import Fill
from portfolio.valuation import value_book
from tests.support.gateway import GatewayProcess, Trader, eventually, folded, holdings, own_exchange, read_log

pytestmark = [pytest.mark.integration, pytest.mark.slow]


async def test_a_wiped_account_is_followed_on_and_what_was_before_stays(
    kafka_brokers: str, redis_url: str, tmp_path: Path
) -> None:
    async with own_exchange(kafka_brokers, redis_url=SecretStr(redis_url), data_dir=tmp_path / "data") as settings:
        trader = Trader.on_own_exchange(settings)
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

            async with httpx.AsyncClient(base_url=settings.binance_rest_url) as operator:
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
