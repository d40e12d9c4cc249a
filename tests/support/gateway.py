"""The gateway as a process of its own, a trader for the simulated exchange, and a reader of the log."""

import asyncio
import hashlib
import hmac
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr

from infra.exchange.app import ExchangeOptions, running_exchange
from infra.exchange.security import AccountKey
from infra.settings import Settings
from portfolio.book import Book, new_book
from portfolio.ledger import Outcome, fold
from streams.creation import ensure_topics
from streams.records import AccountEvents, UnreadableRecord, account_events
from streams.topics import ACCOUNT_EVENTS

_KEY, _SECRET = "test-key", "test-secret"


@asynccontextmanager
async def own_exchange(kafka_brokers: str, **more: Any) -> AsyncIterator[Settings]:
    """A simulated exchange, topics, and the settings to follow its one account, whose name no other test uses."""
    account = f"account-{secrets.token_hex(4)}"
    async with running_exchange(ExchangeOptions(accounts=(AccountKey(account, _KEY, _SECRET),))) as url:
        address = url.removeprefix("http://")
        settings = Settings(
            binance_api_key=SecretStr(_KEY),
            binance_secret_key=SecretStr(_SECRET),
            binance_rest_url=url,
            binance_ws_api_url=f"ws://{address}/ws-api/v3",
            binance_stream_url=f"ws://{address}",
            kafka_brokers=kafka_brokers,
            account=account,
            **{"balance_sync_interval_s": 1.0} | more,
        )
        await ensure_topics(settings, on_wait=lambda _line: None, timeout_s=30)
        yield settings


class Trader:
    """Places orders on the simulated exchange, moves money as its operator, and reads its books."""

    def __init__(self, url: str, account: str, key: str, secret: str) -> None:
        self._account, self._secret = account, secret
        self._http = httpx.AsyncClient(base_url=url, headers={"X-MBX-APIKEY": key}, timeout=10)

    @classmethod
    def on_own_exchange(cls, settings: Settings) -> Self:
        """A trader for the account of `own_exchange`."""
        return cls(settings.binance_rest_url, settings.account, _KEY, _SECRET)

    async def close(self) -> None:
        await self._http.aclose()

    async def market_order(self, symbol: str, side: str, quantity: str) -> dict[str, Any]:
        return await self.order(symbol=symbol, side=side, type="MARKET", quantity=quantity)

    async def order(self, path: str = "order", **fields: str) -> dict[str, Any]:
        """Place any order, by the parameters of the exchange's own interface."""
        params: dict[str, Any] = {**fields, "timestamp": int(time.time() * 1_000)}
        signature = hmac.new(self._secret.encode(), urlencode(params).encode(), hashlib.sha256).hexdigest()
        order: dict[str, Any] = self._answer(
            await self._http.post(f"/api/v3/{path}", params=params | {"signature": signature})
        )
        return order

    async def bid(self, symbol: str) -> str:
        """The market's best price for who sells."""
        ticker = self._answer(await self._http.get("/api/v3/ticker/bookTicker", params={"symbol": symbol}))
        return str(ticker["bidPrice"])

    async def deposit(self, asset: str, amount: str) -> None:
        await self._move("deposit", asset, amount)

    async def withdraw(self, asset: str, amount: str) -> None:
        await self._move("withdraw", asset, amount)

    async def disconnect(self) -> None:
        self._answer(await self._http.post("/operator/disconnect"))

    async def books(self) -> dict[str, Any]:
        answer = self._answer(await self._http.get("/operator/books", params={"account": self._account}))
        books: dict[str, Any] = answer["accounts"][self._account]
        return books

    async def totals(self) -> dict[str, Decimal]:
        balances = (await self.books())["balances"]
        totals = {asset: Decimal(row["free"]) + Decimal(row["locked"]) for asset, row in balances.items()}
        return {asset: total for asset, total in totals.items() if total}

    async def _move(self, what: str, asset: str, amount: str) -> None:
        body = {"account": self._account, "asset": asset, "amount": amount}
        self._answer(await self._http.post(f"/operator/{what}", json=body))

    @staticmethod
    def _answer(response: httpx.Response) -> Any:
        assert response.is_success, response.text
        return response.json()


class GatewayProcess:
    """`portfolio gateway`, started and killed."""

    def __init__(self, settings: Settings, log_path: Path, *arguments: str) -> None:
        self._command = (sys.executable, "-m", "cli.main", "gateway", *arguments)
        self._environment = os.environ | environment_of(settings)
        self._log_path = log_path
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log_path.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, stdout=output, stderr=output
            )

    async def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 30) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(timeout_s):
            return await self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def exit_code(self, timeout_s: float = 60) -> int:
        assert self._process is not None
        async with asyncio.timeout(timeout_s):
            return await self._process.wait()

    @property
    def output(self) -> str:
        return self._log_path.read_text()


def environment_of(settings: Settings) -> dict[str, str]:
    key, secret = settings.binance_api_key, settings.binance_secret_key
    return {
        "BINANCE_API_KEY": "" if key is None else key.get_secret_value(),
        "BINANCE_SECRET_KEY": "" if secret is None else secret.get_secret_value(),
        "BINANCE_REST_URL": settings.binance_rest_url,
        "BINANCE_WS_API_URL": settings.binance_ws_api_url,
        "BINANCE_STREAM_URL": settings.binance_stream_url,
        "KAFKA_BROKERS": settings.brokers,
        "REDIS_URL": settings.redis_dsn,
        "PORTFOLIO_ACCOUNT": settings.account,
        "PORTFOLIO_BALANCE_SYNC_INTERVAL_S": str(settings.balance_sync_interval_s),
        "PORTFOLIO_VALUATION_INTERVAL_S": str(settings.valuation_interval_s),
        "PORTFOLIO_PARTITIONS": str(settings.partitions),
        "PORTFOLIO_DATA_DIR": str(settings.data_dir),
        "PORTFOLIO_FLOW_SYNC_INTERVAL_S": str(settings.flow_sync_interval_s),
        "LOG_LEVEL": "INFO",
    }


async def read_log(settings: Settings) -> list[AccountEvents]:
    """Every record of the account that can be read, in order."""
    async with reader(settings) as consumer:
        partitions = [TopicPartition(ACCOUNT_EVENTS.name, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[AccountEvents] = []
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                messages = (await consumer.getmany(partition, timeout_ms=500)).get(partition, [])
                for message in messages:
                    if message.key == settings.account.encode():
                        with suppress(UnreadableRecord):
                            records.append(account_events.decode(message.value))
        return records


@asynccontextmanager
async def reader(settings: Settings) -> AsyncIterator[Any]:
    """A consumer that belongs to no group and starts at the beginning of what it is assigned."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.brokers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def folded(settings: Settings) -> tuple[Book, list[Outcome]]:
    """The book that the ledger makes of the account's log."""
    book = new_book(settings.account, settings.reporting_currency, settings.cash_assets)
    outcomes = []
    for record in await read_log(settings):
        outcome = fold(book, record.events)
        book = outcome.book
        outcomes.append(outcome)
    return book, outcomes


def holdings(book: Book) -> dict[str, Decimal]:
    """What the book holds of each asset."""
    return {asset: holding.quantity for asset, holding in book.holdings.items() if holding.quantity}


async def eventually(
    condition: Callable[[], Awaitable[bool]],
    timeout_s: float = 60,
    interval_s: float = 0.2,
    what: Callable[[], str] = lambda: "",
) -> None:
    """Wait until a condition holds; `what` says more when it does not in time."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await condition():  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(interval_s)
    except TimeoutError as error:
        raise AssertionError(f"not within {timeout_s} s: {what()[-4_000:]}") from error
