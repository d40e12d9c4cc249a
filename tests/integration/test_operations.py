"""Stopping, restarting and losing workers as operators do: nothing is read twice, nothing stands still for long."""

import asyncio
import itertools
import os
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from portfolio import LogPosition, encode_book
from streams import topics
from streams.account_log import partition_of
from streams.records import journal_records
from tests.support.worker import (
    Worker,
    assert_equals_pure_fold,
    fill,
    fold_log,
    produce,
    producing,
    read_all,
    record,
    until,
    until_done,
)

pytestmark = pytest.mark.integration

PARTITIONS = 8
EVENTS = topics.ACCOUNT_EVENTS.name
SILENCE_MAX_S = 30.0
STOP_MAX_S = 10.0


@pytest.fixture
async def new_worker(brokers: str, tmp_path: Path) -> AsyncIterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def make(name: str) -> Worker:
        workers.append(Worker(brokers, tmp_path / name))
        return workers[-1]

    yield make
    for worker in workers:
        worker.kill()


@asynccontextmanager
async def trading(brokers: str, accounts: list[str], every_s: float = 0.05) -> AsyncIterator[None]:
    """Fills for one account after the other, until the end of the block."""
    over = asyncio.Event()

    async def trade() -> None:
        async with producing(brokers) as producer:
            number = 0
            while not over.is_set():
                number += 1
                name = accounts[number % len(accounts)]
                await producer.send(EVENTS, record(name, fill(number)), key=name.encode())
                await asyncio.sleep(every_s)

    task = asyncio.create_task(trade())
    try:
        yield
    finally:
        over.set()
        await task


async def told(brokers: str) -> Counter[LogPosition]:
    """How often the journal tells of each record of the log."""
    return Counter(
        journal_records.decode(one.value).update.position for one in await read_all(brokers, topics.JOURNAL.name)
    )


async def committed(brokers: str) -> dict[int, int]:
    """What the workers' group would read next, by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, group_id=topics.APP_ID, enable_auto_commit=False)
    await consumer.start()
    try:
        return {n: await consumer.committed(TopicPartition(EVENTS, n)) or 0 for n in range(PARTITIONS)}
    finally:
        await consumer.stop()


async def until_told(brokers: str, more_than: int) -> None:
    deadline = time.monotonic() + 60
    while len(await told(brokers)) <= more_than:
        assert time.monotonic() < deadline, "nothing comes out"
        await asyncio.sleep(0.3)


class Took(NamedTuple):
    """How long something took, and for how much of it the process was ready to run while others did."""

    all_s: float
    waited_s: float

    @property
    def own_s(self) -> float:
        return self.all_s - self.waited_s

    def __str__(self) -> str:
        return f"{self.all_s:.1f} s, {self.waited_s:.1f} s of it waiting for a processor, load {os.getloadavg()[0]:.0f}"


async def stop(worker: Worker) -> Took:
    """Stop a worker as a supervisor would."""
    assert worker.process is not None
    scheduled = Path(f"/proc/{worker.process.pid}/schedstat")
    began, before = time.monotonic(), _waited_s(scheduled)
    stopping = asyncio.create_task(asyncio.to_thread(worker.stop, 60))
    waited = before
    while not stopping.done():
        waited = max(waited, _waited_s(scheduled))
        await asyncio.wait([stopping], timeout=0.02)
    await stopping
    return Took(time.monotonic() - began, waited - before)


def _waited_s(scheduled: Path) -> float:
    """How long the first thread of a process has waited for a processor; nothing where the system does not tell."""
    with suppress(OSError):
        if (told := scheduled.read_text().split()) != []:
            return int(told[1]) / 1e9
    return 0.0


async def test_a_graceful_stop_in_the_middle_of_the_stream_leaves_nothing_to_replay(
    brokers: str, new_worker: Callable[..., Worker], measured: Callable[[str], None]
) -> None:
    worker = new_worker("w1")
    async with trading(brokers, [f"stop{number}" for number in range(16)]):
        worker.start()
        await until_told(brokers, 40)
        took = await stop(worker)
        measured(f"a graceful stop in the middle of the stream: {took}")
        assert took.own_s < STOP_MAX_S

    positions = await told(brokers)
    done = {n: max((p.offset + 1 for p in positions if p.partition == n), default=0) for n in range(PARTITIONS)}
    assert await committed(brokers) == done

    worker.start()
    await until_done(brokers, [worker])
    worker.stop(60)
    assert set((await told(brokers)).values()) == {1}
    await assert_equals_pure_fold(brokers)


@pytest.mark.slow
async def test_an_old_book_that_came_late_into_the_changelog_undoes_nothing(
    brokers: str, new_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """As a worker leaves it that was cut off from the brokers while another took its partition."""
    account, other = "late", next(f"other{n}" for n in range(99) if home_of(f"other{n}") == home_of("late"))
    await produce(brokers, [(account, record(account, fill(1)))])
    worker = new_worker("w1").start()
    await until_done(brokers, [worker])
    old = fold_log(await read_all(brokers, EVENTS)).books[account]
    await produce(brokers, [(account, record(account, fill(2))), (other, record(other, fill(1)))])
    await until_done(brokers, [worker])
    worker.stop(60)
    async with producing(brokers) as producer:
        changelog = topics.BOOKS_CHANGELOG.name
        await producer.send_and_wait(changelog, encode_book(old), key=account.encode(), partition=home_of(account))
    shutil.rmtree(tmp_path / "w1")

    await produce(brokers, [(account, record(account, fill(3)))])
    worker.start()
    await until_done(brokers, [worker])

    expected = await assert_equals_pure_fold(brokers)
    assert expected.books[account].symbols["BTCUSDT"].fills == 3
    assert "ends with an older value" in worker.log()
    worker.stop(60)


def home_of(account: str) -> int:
    return partition_of(account, PARTITIONS)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_workers_are_restarted_one_after_the_other_without_a_gap(
    brokers: str, new_worker: Callable[..., Worker], measured: Callable[[str], None]
) -> None:
    accounts = [f"roll{number}" for number in range(24)]
    workers = [new_worker(f"w{number}") for number in (1, 2)]
    for worker in workers:
        worker.start()
    await until(lambda: all("Worker ready" in worker.log() for worker in workers), "two workers are ready", 60)
    async with trading(brokers, accounts):
        await until_told(brokers, len(await told(brokers)) + 20)
        began_ms = time.time() * 1000
        for worker in workers:
            await asyncio.to_thread(worker.stop, 60)
            starts = worker.log().count("Worker ready")
            worker.start()
            await until(lambda: worker.log().count("Worker ready") > starts, "it is back", 60)  # noqa: B023 - at once
            await until_told(brokers, len(await told(brokers)) + 20)
        ended_ms = time.time() * 1000
    await until_done(brokers, workers)

    await assert_equals_pure_fold(brokers)
    assert set((await told(brokers)).values()) == {1}
    times = sorted(one.timestamp for one in await read_all(brokers, topics.PNL.name))
    times = [began_ms, *[moment for moment in times if began_ms <= moment <= ended_ms], ended_ms]
    silence_s = max(later - earlier for earlier, later in itertools.pairwise(times)) / 1000
    measured(f"two workers restarted one after the other: the longest silence on the pnl topic was {silence_s:.1f} s")
    assert silence_s < SILENCE_MAX_S
    for worker in workers:
        worker.stop(60)
