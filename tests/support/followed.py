"""Several accounts with keys of every kind on one exchange, and a gateway that follows them in this process."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import redis.asyncio
from aiohttp import web
from Crypto.PublicKey import ECC, RSA
from pydantic import SecretStr

from infra.exchange.app import ExchangeOptions, build_app, build_exchange, wall_clock_us
from infra.exchange.fault_plans import FaultPlan
from infra.exchange.security import AccountKey, KeyRing
from infra.portfolio_file import AccountConfig
from infra.settings import Settings
from portfolio.events import Fill
from streams.gateway.service import run_gateway
from streams.gateway.status import status_key
from tests.support.gateway import Trader, eventually, folded, holdings, read_log

KINDS = ("hmac", "rsa", "ed25519")


class Account:
    """An account with a key that trades, and one that may only read, which the gateway gets."""

    def __init__(self, kind: str) -> None:
        self.name = f"{kind}-{secrets.token_hex(4)}"
        self.private, public = _pair(kind)
        self.keys = (
            AccountKey(self.name, f"{self.name}-trades", "trade-secret"),
            AccountKey(self.name, f"{self.name}-reads", public, may_trade=False),
        )

    def config(self) -> AccountConfig:
        return AccountConfig(
            name=self.name,
            reporting="USDT",
            cash_assets=frozenset({"USDT"}),
            api_key=SecretStr(f"{self.name}-reads"),
            secret_key=SecretStr(self.private),
        )

    def trader(self, url: str) -> Trader:
        return Trader(url, self.name, f"{self.name}-trades", "trade-secret")


def _pair(kind: str) -> tuple[str, str]:
    """What the owner has, and what the exchange has."""
    match kind:
        case "rsa":
            key = RSA.generate(2048)
            return key.export_key(pkcs=8).decode(), key.public_key().export_key().decode()
        case "ed25519":
            curve = ECC.generate(curve="ed25519")
            return str(curve.export_key(format="PEM")), str(curve.public_key().export_key(format="PEM"))
        case _:
            return "a-secret", "a-secret"


class Followed:
    """An exchange, its accounts, and what their logs say of them."""

    def __init__(self, url: str, accounts: tuple[Account, ...], settings: Settings) -> None:
        self.accounts = accounts
        self.settings = settings
        self.traders = {account.name: account.trader(url) for account in accounts}
        self._http = httpx.AsyncClient(base_url=url, timeout=10)

    async def close(self) -> None:
        for trader in self.traders.values():
            await trader.close()
        await self._http.aclose()

    async def operate(self, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Ask the operator of the exchange, or tell."""
        if body is None:
            response = await self._http.get(f"/operator/{path}")
        else:
            response = await self._http.post(f"/operator/{path}", json=body)
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def settings_of(self, account: Account) -> Settings:
        return self.settings.model_copy(update={"account": account.name, "cash_assets": frozenset({"USDT"})})

    async def status(self, account: Account) -> dict[str, str]:
        async with redis.asyncio.from_url(self.settings.redis_dsn, decode_responses=True) as client:
            status = await client.hgetall(status_key(account.name))
        return {str(name): str(value) for name, value in status.items()}

    async def are_live(self) -> bool:
        return all([(await self.status(account)).get("state") == "live" for account in self.accounts])

    async def agree(self) -> bool:
        """Whether each log has every trade of the exchange once, in order, and leads to its balances."""
        for account in self.accounts:
            book, _ = await folded(self.settings_of(account))
            trader = self.traders[account.name]
            if await self.published(account) != await self.traded(account) or holdings(book) != await trader.totals():
                return False
        return True

    async def published(self, account: Account) -> list[tuple[str, int]]:
        records = await read_log(self.settings_of(account))
        fills = [event for record in records for event in record.events if isinstance(event, Fill)]
        return sorted_by_symbol([(fill.symbol, fill.trade_id) for fill in fills])

    async def traded(self, account: Account) -> list[tuple[str, int]]:
        trades = (await self.traders[account.name].books())["trades"]
        return sorted_by_symbol([(trade["symbol"], trade["id"]) for trade in trades])


def sorted_by_symbol(trades: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Trades by symbol, within a symbol as they came."""
    return sorted(trades, key=lambda trade: trade[0])


@asynccontextmanager
async def followed(
    settings: Settings,
    *,
    kinds: tuple[str, ...] = KINDS,
    weight_limit: int | None = None,
    symbols: tuple[str, ...] = (),
    trade_group: int = -1,
    speed: Fraction = Fraction(1),
) -> AsyncIterator[Followed]:
    """An exchange with an account for each kind of key; its limit of request weight can be made small."""
    accounts = tuple(Account(kind) for kind in kinds)
    keys = tuple(key for account in accounts for key in account.keys)
    exchange = build_exchange(ExchangeOptions(accounts=keys, symbols=symbols, speed=speed), None, wall_clock_us)
    for each in exchange.ledger.accounts.values():
        each.trade_group = trade_group
    if weight_limit is not None:
        exchange.listing.weight_limit = weight_limit
        for each in exchange.listing.exchange_info["rateLimits"]:
            if each["rateLimitType"] == "REQUEST_WEIGHT":
                each["limit"] = weight_limit
    runner = web.AppRunner(build_app(exchange, KeyRing(keys), FaultPlan()), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"127.0.0.1:{runner.addresses[0][1]}"
        found = settings.model_copy(
            update={
                "binance_rest_url": f"http://{address}",
                "binance_ws_api_url": f"ws://{address}/ws-api/v3",
                "binance_stream_url": f"ws://{address}",
            }
        )
        with TemporaryDirectory() as data_dir:
            found = found.model_copy(update={"data_dir": Path(data_dir)})
            world = Followed(f"http://{address}", accounts, found)
            try:
                yield world
            finally:
                await world.close()
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_gateway(world: Followed) -> AsyncIterator[asyncio.Task[None]]:
    """A gateway for all accounts, live when the body begins; its failure is the test's."""
    task = asyncio.create_task(run_gateway(world.settings, [account.config() for account in world.accounts]))
    try:

        async def is_live() -> bool:
            if task.done():
                task.result()
            return await world.are_live()

        await eventually(is_live, timeout_s=300)
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
