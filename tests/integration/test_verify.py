"""`portfolio verify` over a live exchange: log, tables, Postgres and exchange agree, and what does not is shown."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from infra.postgres.migrate import migrate
from infra.settings import Settings
from portfolio import Book, FlowKind, amount, decode_book, encode_book, exact_arithmetic, plain
from streams.account_log import partition_of
from streams.log_reader import open_log
from streams.topics import BOOKS_CHANGELOG
from streams.verification import read_tables
from tests.support.gateway import GatewayProcess, Trader, environment_of, eventually, holdings, own_exchange
from tests.support.worker import Worker, producing

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_S = 120.0


class Said(NamedTuple):
    """What a command came to."""

    exit_code: int
    output: str
    errors: str


class Live:
    """An exchange with one account, its gateway, a worker, and the commands of an operator."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.settings = settings
        self.trader = Trader.on_own_exchange(settings)
        self.gateway = GatewayProcess(settings, directory / "gateway.log")
        self.environment = environment_of(settings) | {"DATABASE_URL": settings.database_dsn}
        self.worker = Worker(settings.brokers, directory / "w1", self.environment)
        self._directory = directory

    async def portfolio(self, *words: str) -> Said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", *words),
            cwd=self._directory,
            env=os.environ | self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode is not None
        return Said(process.returncode, output.decode(), errors.decode())

    async def differences(self) -> list[tuple[str, ...]]:
        """What `verify` prints as different: copy, subject, field, what the log says, what the copy says."""
        said = await self.portfolio("verify", "--json")
        (report,) = json.loads(said.output)
        found = [tuple(one.values())[1:] for one in report["differences"]]
        assert said.exit_code == (1 if found else 0), said
        return found

    async def until_all_agree(self) -> None:
        """Wait until no copy is behind and none differs."""

        async def agree() -> bool:
            said = await self.portfolio("verify")
            return (
                said.exit_code == 0
                and "agrees (tables, up to date; postgres, up to date; exchange)" in said.output
                and holdings(await self.book()) == await self.trader.totals()
            )

        await eventually(agree, timeout_s=PATIENCE_S, interval_s=0.5, what=self.worker.log)

    async def book(self) -> Book:
        """What the log leads to."""
        partitions = self.settings.partitions
        async with open_log(self.settings, partition_of(self.settings.account, partitions)) as log:
            book = await log.fold(self.settings.account, partitions)
        assert book is not None
        return book

    async def operate(self, what: str, **fields: Any) -> None:
        async with httpx.AsyncClient(base_url=self.settings.binance_rest_url) as http:
            answer = await http.post(f"/operator/{what}", json={"account": self.settings.account} | fields)
            assert answer.is_success, answer.text


@pytest.fixture
async def live(own_brokers: str, database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Live]:
    options = {
        "database_url": SecretStr(database_url),
        "redis_url": SecretStr(redis_url),
        "data_dir": tmp_path / "data",
    }
    async with own_exchange(own_brokers, balance_sync_interval_s=2.0, _env_file=None, **options) as settings:
        await migrate(database_url)
        running = Live(settings, tmp_path)
        try:
            running.worker.start()
            await running.gateway.start()
            yield running
        finally:
            await running.gateway.stop(signal.SIGKILL)
            running.worker.kill()
            await running.trader.close()


async def test_each_copy_that_differs_is_shown_with_both_values(live: Live) -> None:
    for side in ("BUY", "BUY", "SELL"):
        await live.trader.market_order("BTCUSDT", side, "0.001")
    await live.until_all_agree()
    assert await live.gateway.stop(timeout_s=60) == 0  # from here on nothing comes to the log
    await live.until_all_agree()

    held = holdings(await live.book())
    connection = await asyncpg.connect(live.settings.database_dsn)
    change = "UPDATE balances SET quantity = quantity + $2 WHERE account = $1 AND asset = 'BTC'"
    await connection.execute(change, live.settings.account, 7)
    wrong = ("postgres", "asset BTC", "quantity", plain(held["BTC"]), plain(held["BTC"] + 7))
    assert await live.differences() == [wrong]
    said = await live.portfolio("verify")
    assert f"account {live.settings.account}" in said.output
    assert re.search(r"1 difference\(s\)", said.output)
    assert all(word in said.output for word in wrong), said.output
    await connection.execute(change, live.settings.account, -7)
    await connection.close()
    assert await live.differences() == []

    tables = await read_tables(live.settings)
    right = tables[live.settings.account]
    book = decode_book(right)
    await _put(live, encode_book(replace(book, realized=book.realized + 1)))
    found = await live.differences()
    assert {copy for copy, *_ in found} == {"tables"}
    assert ("account", "realized") in {(subject, field) for _, subject, field, *_ in found}
    await _put(live, right)
    assert await live.differences() == []

    await live.trader.deposit("BNB", "2.5")
    with exact_arithmetic():
        there = held["BNB"] + amount("2.5")
    assert await live.differences() == [("exchange", "asset BNB", "quantity", plain(held["BNB"]), plain(there))]
    assert (await live.portfolio("verify", "--offline")).exit_code == 0
    await live.gateway.start()
    await live.until_all_agree()


async def _put(live: Live, book: bytes) -> None:
    account = live.settings.account
    home = partition_of(account, live.settings.partitions)
    async with producing(live.settings.brokers) as producer:
        await producer.send_and_wait(BOOKS_CHANGELOG.name, book, key=account.encode(), partition=home)


async def test_a_trade_that_the_exchange_took_back_is_as_if_it_had_never_been(live: Live) -> None:
    """Binance says that balances moved, and not why. The gateway books that as flows; a person says what it was."""
    account = live.settings.account
    await live.trader.market_order("BTCUSDT", "BUY", "0.001")
    await live.until_all_agree()
    before, trades_before = await live.book(), (await live.trader.books())["trades"]
    await live.trader.market_order("BTCUSDT", "BUY", "0.002")
    await live.until_all_agree()
    busted = [trade["id"] for trade in (await live.trader.books())["trades"] if trade not in trades_before]
    for trade_id in busted:
        await live.operate("bust", symbol="BTCUSDT", trade_id=trade_id)
    await live.until_all_agree()
    assert (await live.book()).net_flows != before.net_flows
    kinds = {flow.kind for flow_id, flow in (await live.book()).flows.items() if flow_id not in before.flows}
    assert kinds == {FlowKind.UNCLASSIFIED}

    for trade_id in busted:
        words = ("adjust", "trade", "BTCUSDT", str(trade_id), "--cancel", "--why", "notice 7", "--account", account)
        asked = await live.portfolio(*words)
        assert asked.exit_code == 1, "nobody answered"
        flows = re.findall(r"add --flow '([^']+)'", asked.errors)
        assert flows, asked
        done = await live.portfolio(*words, *(word for flow in flows for word in ("--flow", flow)), "--yes")
        assert done.exit_code == 0, done
    await live.until_all_agree()

    after = await live.book()
    assert (after.net_flows, after.realized, after.fees) == (before.net_flows, before.realized, before.fees)
    assert holdings(after) == holdings(before)
    assert after.holdings["BTC"].cost == before.holdings["BTC"].cost
    assert after.revision == len(busted)
