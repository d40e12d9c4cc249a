"""Executions from a real Redis to a real Kafka: in order, acknowledged after the publish, none lost."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr

from infra.embedded.checks import free_port
from infra.settings import Settings
from streams.creation import ensure_topics
from streams.executions.records import ExecutionRecord, execution_records
from streams.executions.service import GROUP
from streams.records import DeadLetter, dead_letters
from streams.topics import DEAD_LETTERS, EXECUTIONS
from tests.support.gateway import eventually
from tests.support.stack import bring_up, embedded_kafka, embedded_redis

pytestmark = pytest.mark.integration

STREAM = "bot:fills"


class Carrier:
    """`portfolio executions` as a process of its own."""

    def __init__(self, settings: Settings, log_path: Path) -> None:
        self._environment = os.environ | {
            "KAFKA_BROKERS": settings.brokers,
            "REDIS_URL": settings.redis_dsn,
            "PORTFOLIO_EXECUTION_STREAMS": STREAM,
        }
        self._log_path = log_path
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self, name: str, claim_after_s: float = 60) -> asyncio.subprocess.Process:
        with self._log_path.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cli.main", "executions", "--name", name, "--claim-after", str(claim_after_s),
                env=self._environment, stdout=output, stderr=output,
            )  # fmt: skip
        self._processes.append(process)
        return process

    @property
    def output(self) -> str:
        return self._log_path.read_text()

    async def stop(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
async def settings(kafka_brokers: str, redis_url: str) -> Settings:
    found = Settings(kafka_brokers=kafka_brokers, redis_url=SecretStr(redis_url))
    await ensure_topics(found, on_wait=print, timeout_s=30, specs=(EXECUTIONS, DEAD_LETTERS))
    return found


@pytest.fixture
async def carrier(settings: Settings, tmp_path: Path) -> AsyncIterator[Carrier]:
    running = Carrier(settings, tmp_path / "executions.log")
    yield running
    await running.stop()


def execution(account: str, number: int) -> dict[str, Any]:
    return {
        "account": account, "symbol": "BTCUSDT", "side": "BUY", "price": "60000", "quantity": "0.5",
        "trade_id": number, "event_time_us": 1_700_000_000_000_000 + number,
    }  # fmt: skip


async def announce(settings: Settings, account: str, numbers: range) -> None:
    """All at once, so that one read gives them all."""
    async with redis.asyncio.from_url(settings.redis_dsn) as client, client.pipeline(transaction=True) as batch:
        for number in numbers:
            batch.xadd(STREAM, {"data": msgspec.json.encode(execution(account, number))})
        await batch.execute()


async def pending(settings: Settings) -> int:
    async with redis.asyncio.from_url(settings.redis_dsn) as client:
        if not await client.exists(STREAM):
            return 0
        groups = await client.xinfo_groups(STREAM)
    return sum(int(group["pending"]) for group in groups)


@asynccontextmanager
async def unread(settings: Settings) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.brokers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def published(settings: Settings, topic: str) -> list[Any]:
    """Every record of a topic, with key, value and partition."""
    found: list[Any] = []
    async with unread(settings) as consumer:
        partitions = [TopicPartition(topic, each) for each in range(8 if topic == EXECUTIONS.name else 1)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                found += (await consumer.getmany(partition, timeout_ms=200)).get(partition, [])
    return found


async def executions_of(settings: Settings, account: str) -> list[ExecutionRecord]:
    return [
        execution_records.decode(record.value)
        for record in await published(settings, EXECUTIONS.name)
        if record.key == account.encode()
    ]


async def trade_ids(settings: Settings, account: str) -> list[int | None]:
    return [record.trade_id for record in await executions_of(settings, account)]


async def test_executions_are_published_in_order_and_acknowledged(settings: Settings, carrier: Carrier) -> None:
    await announce(settings, "order", range(600))
    process = await carrier.start("one")

    async def all_there() -> bool:
        return len(await trade_ids(settings, "order")) >= 605 and await pending(settings) == 0

    await announce(settings, "order", range(600, 605))
    await eventually(all_there, what=lambda: carrier.output)
    assert await trade_ids(settings, "order") == list(range(605))
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_what_cannot_be_read_is_a_dead_letter_and_holds_nothing_up(settings: Settings, carrier: Carrier) -> None:
    await announce(settings, "poison", range(1))
    async with redis.asyncio.from_url(settings.redis_dsn) as client:
        entry_id = await client.xadd(STREAM, {"data": b"\xff poison"})
        huge_id = await client.xadd(STREAM, {"data": b"x" * 3_000_000})
        # An error that tells the value would be as large as the value.
        told_id = await client.xadd(STREAM, {"side": b"x" * 3_000_000})
    await announce(settings, "poison", range(1, 2))
    await carrier.start("one")

    async def all_there() -> bool:
        return await trade_ids(settings, "poison") == [0, 1] and await pending(settings) == 0

    await eventually(all_there, what=lambda: carrier.output)
    letters: dict[Any, DeadLetter] = {
        record.key: dead_letters.decode(record.value) for record in await published(settings, DEAD_LETTERS.name)
    }
    assert letters[entry_id].topic == f"redis:{STREAM}"
    assert letters[entry_id].value == b"\xff poison"
    assert "JSON" in letters[entry_id].reason
    assert "of 3000000 bytes" in letters[huge_id].reason
    assert len(letters[told_id].reason) < 2_000


async def test_messages_of_channels_are_followed_by_pattern(settings: Settings, carrier: Carrier) -> None:
    await carrier.start("one")
    order = {name: value for name, value in execution("channels", 1).items() if name != "event_time_us"}
    order |= {"status": "FILLED", "timestamp": 1_700_000_000_000, "strategy": "s", "cycle_id": "c"}
    async with redis.asyncio.from_url(settings.redis_dsn) as client:

        async def someone_listens() -> bool:
            return bool(await client.publish("roottrading:order:placed", msgspec.json.encode({"status": "NEW"})))

        await eventually(someone_listens, what=lambda: carrier.output)
        await client.publish("roottrading:order:filled", msgspec.json.encode(order))
        cycle = {"cycle_id": "c2", "order": order | {"trade_id": 2, "cycle_id": ""}}
        await client.publish("roottrading:cycle:completed", msgspec.json.encode(cycle))
        assert await client.publish("roottrading:other", b"{}") == 0

    async def both_there() -> bool:
        return len(await executions_of(settings, "channels")) == 2

    await eventually(both_there, what=lambda: carrier.output)
    found = await executions_of(settings, "channels")
    assert [(each.source, each.cycle_id, each.strategy) for each in found] == [
        ("redis:roottrading:order:filled", "c", "s"),
        ("redis:roottrading:cycle:completed", "c2", "s"),
    ]


async def test_entries_of_a_dead_consumer_are_taken_over(settings: Settings, carrier: Carrier) -> None:
    await announce(settings, "dead", range(3))
    async with redis.asyncio.from_url(settings.redis_dsn) as client:
        await client.xgroup_create(STREAM, GROUP, id="0")
        assert await client.xreadgroup(GROUP, "dead", {STREAM: ">"})
    await announce(settings, "dead", range(3, 4))
    await carrier.start("alive", claim_after_s=3)

    async def all_there() -> bool:
        return len(await trade_ids(settings, "dead")) == 4 and await pending(settings) == 0

    await eventually(all_there, what=lambda: carrier.output)
    assert {*await trade_ids(settings, "dead")} == {0, 1, 2, 3}


async def test_nothing_is_acknowledged_before_kafka_has_it_and_a_kill_loses_nothing(
    redis_url: str, tmp_path: Path
) -> None:
    """The broker stops; what is read meanwhile stays pending, through a SIGKILL, until the broker is back."""
    kafka_port = free_port()
    settings = Settings(kafka_brokers=f"127.0.0.1:{kafka_port}", redis_url=SecretStr(redis_url))
    carrier = Carrier(settings, tmp_path / "executions.log")
    async with AsyncExitStack() as exits:
        exits.push_async_callback(carrier.stop)
        broker = embedded_kafka(tmp_path / "kafka", kafka_port)
        await asyncio.to_thread(bring_up, broker)
        exits.callback(broker.process.stop)
        await announce(settings, "kill", range(5))
        process = await carrier.start("one")

        async def first_are_there() -> bool:
            return await trade_ids(settings, "kill") == [0, 1, 2, 3, 4] and await pending(settings) == 0

        await eventually(first_are_there, what=lambda: carrier.output)
        await asyncio.to_thread(broker.process.stop)
        await announce(settings, "kill", range(5, 10))

        async def taken_but_not_acknowledged() -> bool:
            return await pending(settings) == 5

        await eventually(taken_but_not_acknowledged, what=lambda: carrier.output)
        await asyncio.sleep(1)
        assert await pending(settings) == 5
        process.kill()
        await process.wait()
        broker = embedded_kafka(tmp_path / "kafka", kafka_port)
        await asyncio.to_thread(bring_up, broker)
        exits.callback(broker.process.stop)
        await carrier.start("one")

        async def all_there() -> bool:
            return await trade_ids(settings, "kill") == list(range(10)) and await pending(settings) == 0

        await eventually(all_there, what=lambda: carrier.output)


async def test_it_waits_for_a_redis_that_is_away(kafka_brokers: str, tmp_path: Path) -> None:
    port = free_port()
    settings = Settings(kafka_brokers=kafka_brokers, redis_url=SecretStr(f"redis://127.0.0.1:{port}/0"))
    carrier = Carrier(settings, tmp_path / "executions.log")
    async with AsyncExitStack() as exits:
        exits.push_async_callback(carrier.stop)
        await carrier.start("one")

        async def waits() -> bool:
            return "cannot read entries of Redis" in carrier.output

        await eventually(waits, what=lambda: carrier.output)
        first = embedded_redis(tmp_path / "redis", port)
        await asyncio.to_thread(bring_up, first)
        exits.callback(first.process.stop)
        await announce(settings, "away", range(3))

        async def there(number: int) -> bool:
            return await trade_ids(settings, "away") == list(range(number)) and await pending(settings) == 0

        await eventually(lambda: there(3), what=lambda: carrier.output)
        await asyncio.to_thread(first.process.stop)
        second = embedded_redis(tmp_path / "redis", port)
        await asyncio.to_thread(bring_up, second)
        exits.callback(second.process.stop)
        await announce(settings, "away", range(3, 5))
        await eventually(lambda: there(5), what=lambda: carrier.output)
