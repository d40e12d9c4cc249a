"""The watch over the alerts on a real Kafka, Redis and Postgres, with a mail server and a webhook that listen."""

import asyncio
import itertools
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis.asyncio
from pydantic import SecretStr

from infra.embedded.checks import free_port
from infra.postgres.alerts import newest_alerts
from infra.postgres.connection import connected
from infra.postgres.migrate import migrate
from infra.redis.live import LiveFeed
from infra.settings import Settings
from portfolio import BalanceReport, Fill, Flow, FlowKind, Side, ValuationPoint, amount
from portfolio.alerts.engine import Alert
from portfolio.events import Balance, Reclassification
from streams.alerts.desk import known_alerts
from streams.alerts.records import AlertRecord, decode_alert_record, decode_progress, target_key
from streams.alerts.service import run_alerts
from streams.alerts.watcher import STATE_PARTITION
from streams.creation import ensure_topics
from streams.executions.records import FindingRecord, finding_records
from streams.gateway.log import open_producer
from streams.gateway.status import status_key
from streams.reading import partitions_of, reading, until_now
from streams.records import DeadLetter, dead_letters
from streams.topics import ALERT_STATE, ALERTS, DEAD_LETTERS, EXECUTION_FINDINGS, TOPICS
from tests.support.alerts import Ledger, Mailbox, Webhook, now_us, until_told
from tests.support.gateway import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MINUTE_US = 60_000_000


class Process(NamedTuple):
    """`portfolio alerts run`, and what it says."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def is_watching(self) -> bool:
        told = self.log.read_text()
        return told.rfind(": watching") > told.rfind("this one waits")


class World:
    """One account, what it hears, and who is told."""

    def __init__(self, settings: Settings, ledger: Ledger, mailbox: Mailbox, webhook: Webhook, account: str) -> None:
        self.settings = settings
        self.ledger = ledger
        self.mailbox = mailbox
        self.webhook = webhook
        self.account = account

    def write_rules(self, rules: str, *, accounts: str = "") -> None:
        """The rules of the file; its targets are told of this account, and of others that are named."""
        targets = "\n".join(
            f'[alerts.targets.{name}]\nurl = "env:{url}"\naccounts = ["{self.account}"{accounts}]\n'
            for name, url in (("mail", "ALERT_MAIL"), ("hook", "ALERT_HOOK"))
        )
        self.settings.portfolio_config.write_text(f"[alerts]\ndefaults = false\n{targets}\n{rules}")

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(run_alerts(self.settings))
        try:
            yield task
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def watching(self, log: Path) -> AsyncIterator[Process]:
        environment = self.environment | {
            "REDIS_URL": self.settings.redis_dsn, "BINANCE_REST_URL": self.settings.binance_rest_url,
        }  # fmt: skip
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cli.main", "alerts", "run"), env=environment, stdout=output, stderr=output
            )
        try:
            yield Process(process, log)
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), 20)

    async def told(self, *words: str) -> str:
        """The mail; the same came to the webhook."""
        mail = await until_told(self.mailbox.mails, *words)
        await until_told(self.webhook.messages, *words)
        return mail

    async def open_alerts(self) -> dict[str, Alert]:
        alerts = (await known_alerts(self.settings)).alerts
        return {one.rule: one for one in alerts if one.account in {self.account, ""} and one.is_open}

    async def is_kept_as_told(self, *targets: str) -> bool:
        """Whether it is kept for the next start that targets were told of the account's newest alert."""
        newest: dict[str, int] = {}
        kept: dict[bytes | None, dict[str, int]] = {}
        async with reading(self.settings, [STATE_PARTITION, *partitions_of([ALERTS], self.settings)]) as consumer:
            async for record in until_now(consumer):
                if record.topic == ALERT_STATE.name:
                    kept[record.key] = decode_progress(record.value)
                    continue
                told = decode_alert_record(record.value)
                if isinstance(told, AlertRecord) and told.alert.account == self.account:
                    newest = {f"{record.topic}:{record.partition}": record.offset}
        return bool(newest) and all(
            kept.get(target_key(name), {}).get(place, 0) > offset
            for name in targets
            for place, offset in newest.items()
        )

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "KAFKA_BROKERS": self.settings.brokers,
            "DATABASE_URL": self.settings.database_dsn,
            "PORTFOLIO_CONFIG": str(self.settings.portfolio_config),
        }

    def portfolio(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli.main", "alerts", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
async def world(
    kafka_brokers: str, redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    await migrate(database_url)
    async with AsyncExitStack() as exits:
        webhook, mailbox = Webhook(), exits.enter_context(Mailbox())
        await exits.enter_async_context(webhook.listening())
        monkeypatch.setenv("ALERT_MAIL", mailbox.url)
        monkeypatch.setenv("ALERT_HOOK", webhook.url)
        settings = Settings(
            kafka_brokers=kafka_brokers,
            redis_url=SecretStr(redis_url),
            database_url=SecretStr(database_url),
            binance_rest_url=webhook.address,
            portfolio_config=tmp_path / "portfolio.toml",
        )
        await ensure_topics(settings, on_wait=print, specs=TOPICS)
        producer = await exits.enter_async_context(open_producer(settings))
        ledger = Ledger(settings, producer)
        yield World(settings, ledger, mailbox, webhook, f"alerts-{secrets.token_hex(4)}")


def deposit(number: int, time_us: int, quantity: str, kind: FlowKind = FlowKind.DEPOSIT) -> Flow:
    return Flow(time_us=time_us, id=f"flow-{number}", asset="USDT", quantity=amount(quantity), kind=kind)


def fill(number: int, time_us: int, side: Side, quantity: str, price: str, base: str = "BTC") -> Fill:
    return Fill(
        time_us=time_us, symbol=f"{base}USDT", base=base, quote="USDT", side=side, price=amount(price),
        quantity=amount(quantity), trade_id=number, order_id=number,
    )  # fmt: skip


EVERY_KIND = """
[alerts.rules.a-loss]
kind = "loss"
amount = 100
period = "7d"
[alerts.rules.a-drawdown]
kind = "drawdown"
percent = 2
[alerts.rules.a-position-limit]
kind = "position_limit"
percent = 30
[alerts.rules.a-sync-failure]
kind = "sync_failures"
[alerts.rules.a-balance-anomaly]
kind = "balance_anomaly"
hold = "0s"
[alerts.rules.a-stale-data]
kind = "stale_data"
hold = "0s"
after = "1h"
[alerts.rules.a-reconciliation]
kind = "reconciliation"
hold = "0s"
[alerts.rules.a-missing-acquisition]
kind = "missing_acquisition"
[alerts.rules.a-dead-letter]
kind = "dead_letters"
[alerts.rules.a-pnl-anomaly]
kind = "pnl_anomaly"
[alerts.rules.an-unmatched-execution]
kind = "unmatched_execution"
[alerts.rules.a-price-source]
kind = "price_sources"
hold = "0s"
"""


async def test_an_alert_of_each_kind_arrives_by_mail_and_at_a_webhook(world: World) -> None:
    """Told with its cause; then silenced, acknowledged, cleared, listed, copied and audited."""
    account, ledger, begins_us = world.account, world.ledger, now_us() - 40 * MINUTE_US
    world.write_rules(EVERY_KIND, accounts=', ""')
    world.webhook.prices = {"BTCUSDT": "7000"}
    await ledger.book(
        account,
        deposit(1, begins_us, "10000"),
        fill(1, begins_us, Side.BUY, "1", "5000"),
        ValuationPoint(time_us=begins_us, rates={"BTC": amount("5000")}),
    )
    for minute in range(30):
        await ledger.mark(account, {"BTC": str(5000 + minute % 3)}, begins_us + minute * MINUTE_US)
    async with world.watched():
        await world.told("a-position-limit BTC", "1 BTC are worth")
        assert "7000 when asked" in await world.told("a-price-source BTC")
        begins_us = now_us() - 10 * MINUTE_US
        await ledger.mark(account, {"BTC": "4000"}, begins_us)
        assert "the mark of BTC went from 500" in await world.told("a-pnl-anomaly", "jumped by -100")
        assert "10% of equity" in await world.told("a-loss 7d", "fell by 1000 USDT")
        await ledger.book(account, ValuationPoint(time_us=begins_us + 1, rates={"BTC": amount("4000")}))
        await world.told("a-drawdown", "the return index is 10% below its peak")
        await ledger.book(account, deposit(2, begins_us + 2, "-7.5", FlowKind.UNCLASSIFIED))
        await world.told("a-balance-anomaly", "-7.5 USDT that nothing explains")
        await ledger.book(account, fill(2, begins_us + 3, Side.SELL, "3", "20", "SOL"))
        await world.told("a-missing-acquisition SOL", "3 SOL went out that nothing brought in")
        report = BalanceReport(time_us=begins_us + 4, balances={"BTC": Balance(amount("1.25"))})
        await ledger.book(account, report)
        await world.told("a-reconciliation BTC", "+0.25 BTC against the ledger, worth 1000 USDT")
        await _announce_what_is_on_no_book(world)
        await world.told("a-dead-letter", "could not be read or booked")
        await world.told("an-unmatched-execution", "missing-fill of BTCUSDT, nobody saw it")
        failing = asyncio.create_task(_fail_to_sync(world))
        await world.told("a-sync-failure", "connections or syncs of the gateway failed within 10m")
        failing.cancel()
        assert "a-stale-data" not in await world.open_alerts()
        world.write_rules(EVERY_KIND.replace('after = "1h"', 'after = "5m"'), accounts=', ""')
        await world.told("a-stale-data", "nothing new was heard for 1")

        await _it_is_acknowledged_and_cleared(world)
        await _it_is_copied(world)


async def _announce_what_is_on_no_book(world: World) -> None:
    letter = DeadLetter(
        topic="portfolio.account-events", partition=0, offset=7, reason="no JSON", time_us=now_us(), key=None,
        value=b"x",
    )  # fmt: skip
    finding = FindingRecord(
        account=world.account, identity="one", symbol="BTCUSDT", finding="missing-fill", trade_id=7, order_id=7,
        strategy="", cycle_id="", detail="nobody saw it", found_time_us=now_us(), cleared_time_us=None,
    )  # fmt: skip
    async with open_producer(world.settings) as producer:
        await producer.send_and_wait(DEAD_LETTERS.name, dead_letters.encode(letter))
        await producer.send_and_wait(
            EXECUTION_FINDINGS.name, finding_records.encode(finding), key=world.account.encode()
        )


async def _fail_to_sync(world: World) -> None:
    """What the gateway's heartbeat tells while its connection fails again and again."""
    async with redis.asyncio.from_url(world.settings.redis_dsn) as client:
        for errors in itertools.count():
            heartbeat: dict[Any, Any] = {"sync_errors": str(errors), "heartbeat_time_us": str(now_us())}
            await client.hset(status_key(world.account), mapping=heartbeat)
            await asyncio.sleep(0.2)


async def _it_is_acknowledged_and_cleared(world: World) -> None:
    before = await world.open_alerts()
    listed = await asyncio.to_thread(world.portfolio, "list", "--json", "--account", world.account)
    assert {one["rule"] for one in json.loads(listed.stdout)} == set(before) - {"a-dead-letter"}, listed.stderr
    anomaly = before["a-balance-anomaly"]
    done = await asyncio.to_thread(world.portfolio, "ack", anomaly.id, "--by", "anna")
    assert done.returncode == 0, done.stderr

    async def is_acknowledged() -> bool:
        return (await world.open_alerts())["a-balance-anomaly"].acknowledged_by == "anna"

    await eventually(is_acknowledged)
    reclassified = Reclassification(
        time_us=now_us(), id="r", flow_id="flow-2", kind=FlowKind.WITHDRAWAL, author="anna", reason="mine"
    )  # fmt: skip
    await world.ledger.book(world.account, reclassified)
    await world.told("[cleared]", "a-balance-anomaly", anomaly.id)
    refused = await asyncio.to_thread(world.portfolio, "ack", anomaly.id)
    assert "no alert" in refused.stderr


async def _it_is_copied(world: World) -> None:
    async with connected(world.settings.database_dsn) as connection:

        async def is_there() -> bool:
            stored = await newest_alerts(connection, limit=100)
            known = (await known_alerts(world.settings)).alerts
            mine = {one.id: one for one in known if one.account == world.account}
            copies = {one.id: one for one in stored if one.account == world.account}
            return bool(mine) and mine.keys() == copies.keys() and all(
                copies[name].status == one.status and copies[name].text == one.text for name, one in mine.items()
            )  # fmt: skip

        await eventually(is_there)
        live = LiveFeed(world.settings.redis_dsn)
        told = {entry.key: json.loads(entry.data)["alert"] for entry in await live.after("0-0", wait=False)}
        await live.close()
        for one in await newest_alerts(connection, limit=100):
            if one.account == world.account:
                assert told[f"{one.account}:{one.id}"]["status"] == one.status, "the live feed is told the same"


LOSS = '[alerts.rules.a-loss]\nkind = "loss"\namount = {}\nperiod = "7d"\n'


async def _losing(world: World) -> None:
    begins_us = now_us() - 40 * MINUTE_US
    await world.ledger.book(world.account, deposit(1, begins_us, "10000"), fill(1, begins_us, Side.BUY, "1", "5000"))
    await world.ledger.mark(world.account, {"BTC": "5000"}, begins_us + MINUTE_US)


async def test_rules_change_while_it_runs_and_what_is_wrong_is_left_out(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write_rules(LOSS.format(2000))
    await _losing(world)
    async with world.watched():
        await world.ledger.mark(world.account, {"BTC": "4000"}, now_us())
        world.write_rules(LOSS.format(-1))
        await eventually(lambda: _said(caplog, "amount is -1; it must be above 0"))
        assert await world.open_alerts() == {}
        world.write_rules(LOSS.format(500))
        await world.told("a-loss", "fell by 1000 USDT")
        silenced = await asyncio.to_thread(world.portfolio, "silence", "--account", world.account, "--for", "1h")
        assert silenced.returncode == 0, silenced.stderr
        world.write_rules("")

        async def is_cleared() -> bool:
            return not await world.open_alerts()

        await eventually(is_cleared)
        await eventually(lambda: _noted(world, "rule a-loss", "-> (none)"))
    assert not [mail for mail in world.mailbox.mails if "[cleared]" in mail]


async def _noted(world: World, name: str, words: str) -> bool:
    """Whether the audit trail is to have a change of the configuration."""
    async with connected(world.settings.database_dsn) as connection:
        rows = await connection.fetch("SELECT record FROM audit_outbox")
    return any(words in json.loads(row["record"])["details"].get(name, "") for row in rows)


async def _said(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text


@pytest.mark.slow
async def test_a_target_that_does_not_answer_holds_up_nobody_and_a_restart_tells_it_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write_rules(LOSS.format(500))
    world.webhook.is_broken = True
    await _losing(world)
    async with world.watched():
        await world.ledger.mark(world.account, {"BTC": "4000"}, now_us())
        await until_told(world.mailbox.mails, "a-loss")
        await eventually(lambda: _said(caplog, "target hook was not told of 1 alerts"), timeout_s=120)
        await eventually(lambda: world.is_kept_as_told("mail"), timeout_s=120)
    ours = [record.getMessage() for record in caplog.records if record.name != "aiohttp.access"]
    assert "a-secret-token" not in "".join(ours)
    world.webhook.is_broken = False
    async with world.watched(), world.watched():
        await until_told(world.webhook.messages, "a-loss")
        await world.ledger.mark(world.account, {"BTC": "4900"}, now_us())
        await world.told("[cleared]", "a-loss")
    assert len(world.mailbox.mails) == len(world.webhook.messages) == 2


@pytest.mark.slow
async def test_it_watches_and_tells_while_postgres_redis_and_the_exchange_are_away(world: World) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    world.settings = world.settings.model_copy(
        update={
            "database_url": SecretStr(f"postgresql://nobody@{nobody}/none"),
            "redis_url": SecretStr(f"redis://{nobody}/0"),
            "binance_rest_url": f"http://{nobody}",
        }
    )
    world.write_rules(LOSS.format(500))
    await _losing(world)
    async with world.watched():
        await world.ledger.mark(world.account, {"BTC": "4000"}, now_us())
        await world.told("a-loss")
        await world.ledger.mark(world.account, {"BTC": "4900"}, now_us())
        await world.told("[cleared]", "a-loss")


@pytest.mark.slow
async def test_another_process_takes_over_from_one_that_was_killed_and_tells_nothing_twice(
    world: World, tmp_path: Path
) -> None:
    world.write_rules(LOSS.format(500))
    await _losing(world)
    async with AsyncExitStack() as exits:
        processes = [await exits.enter_async_context(world.watching(tmp_path / f"{number}.log")) for number in (1, 2)]

        async def both_have_their_turn() -> bool:
            told = [process.log.read_text() for process in processes]
            return all(": watching" in one or "this one waits" in one for one in told)

        await eventually(both_have_their_turn, timeout_s=120)
        await world.ledger.mark(world.account, {"BTC": "4000"}, now_us())
        await world.told("a-loss")
        # Until it is kept that they were told, a process that takes over tells them again.
        await eventually(lambda: world.is_kept_as_told("mail", "hook"), timeout_s=120)
        [first] = [process for process in processes if process.is_watching]
        first.process.kill()
        await world.ledger.mark(world.account, {"BTC": "4900"}, now_us())
        await world.told("[cleared]", "a-loss")
        [second] = [process for process in processes if process is not first]
        assert second.is_watching
    assert len(world.mailbox.mails) == len(world.webhook.messages) == 2


async def test_the_file_is_explained_and_targets_are_tried(world: World) -> None:
    world.write_rules(LOSS.format(500))
    told = await asyncio.to_thread(world.portfolio, "check")
    assert "a-loss [warning]: any account: total pnl fell by 500 or more within 7d. Tells all targets." in told.stdout
    assert "target mail: E-Mail" in told.stdout
    told = await asyncio.to_thread(world.portfolio, "test")
    assert told.returncode == 0, told.stdout + told.stderr
    await world.told("[test] portfolio")
    world.webhook.is_broken = True
    told = await asyncio.to_thread(world.portfolio, "test", "hook")
    assert told.returncode == 1
    assert "hook: not delivered:" in told.stdout
    assert "a-secret-token" not in told.stdout + told.stderr
