"""What moves balances as a trade does and is none: allocations of smart order routing, and transfers within a group."""

from collections.abc import Awaitable, Callable
from fractions import Fraction

import pytest
from pydantic import SecretStr

from infra.settings import Settings
from portfolio.events import ExecutionKind, Fill, Flow, FlowKind
from portfolio.reconciliation import reconcile
from streams.creation import ensure_topics
from tests.support.followed import Account, Followed, followed, running_gateway
from tests.support.gateway import eventually, folded, holdings, read_log

pytestmark = pytest.mark.integration

_STILL = Fraction(1, 1_000)


async def route_and_transfer(world: Followed) -> None:
    """One account buys by smart order routing; then it sells to the other one of its group, which is a transfer."""
    seller, buyer = world.traders.values()
    await seller.order("sor/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.002")
    transfer = {"symbol": "BTCUSDT", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}
    transfer |= {"price": await buyer.bid("BTCUSDT"), "selfTradePreventionMode": "TRANSFER"}
    await buyer.order(side="BUY", **transfer)
    await seller.order(side="SELL", **transfer)


async def moved(world: Followed, account: Account) -> set[tuple[ExecutionKind, int]]:
    """What the exchange says moved the balances of an account."""
    books = await world.traders[account.name].books()
    return {
        *((ExecutionKind.TRADE, each["id"]) for each in books["trades"]),
        *((ExecutionKind.ALLOCATION, each["id"]) for each in books["allocations"]),
        *((ExecutionKind.PREVENTION, each["id"]) for each in books["prevented"] if each["transferred"]),
    }


def agree(world: Followed) -> Callable[[], Awaitable[bool]]:
    """Whether each log has all of it once, and leads to the exchange's balances."""

    async def check() -> bool:
        for account in world.accounts:
            settings = world.settings_of(account)
            fills = [
                (event.execution, event.trade_id)
                for record in await read_log(settings)
                for event in record.events
                if isinstance(event, Fill)
            ]
            book, _ = await folded(settings)
            expected = await moved(world, account)
            if sorted(fills) != sorted(expected) or holdings(book) != await world.traders[account.name].totals():
                return False
        return True

    return check


@pytest.mark.slow
async def test_allocations_and_transfers_are_booked_live_and_when_they_were_missed(
    kafka_brokers: str, redis_url: str
) -> None:
    settings = Settings(kafka_brokers=kafka_brokers, redis_url=SecretStr(redis_url), balance_sync_interval_s=1.0)
    await ensure_topics(settings, on_wait=lambda _line: None, timeout_s=30)
    async with followed(settings, kinds=("hmac", "ed25519"), trade_group=7, speed=_STILL) as world:
        async with running_gateway(world):
            await route_and_transfer(world)
            await eventually(agree(world))
            assert [int((await world.status(account))["sync_errors"]) for account in world.accounts] == [0, 0]
        await route_and_transfer(world)
        async with running_gateway(world):
            await eventually(agree(world))

        seller, buyer = world.accounts
        kinds = {kind for kind, _ in await moved(world, seller)}
        assert kinds == {ExecutionKind.ALLOCATION, ExecutionKind.PREVENTION}
        assert {kind for kind, _ in await moved(world, buyer)} == {ExecutionKind.PREVENTION}
        for account in world.accounts:
            settings = world.settings_of(account)
            events = [event for record in await read_log(settings) for event in record.events]
            assert {event.kind for event in events if isinstance(event, Flow)} == {FlowKind.OPENING}
            book, _ = await folded(settings)
            assert not reconcile(book)
