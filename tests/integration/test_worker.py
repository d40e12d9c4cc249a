"""The worker as a real process against a real broker: what goes in, what must come out, what must survive."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from msgspec.structs import replace

from portfolio import BalanceReport, Flow, FlowKind, LogPosition, Side, amount, decode_book, encode_book
from portfolio.events import Balance
from streams import topics
from streams.account_log import partition_of
from streams.dead_letters import KEPT_BYTES_MAX
from streams.records import balance_records, position_records
from tests.support.worker import (
    TIME_US,
    Worker,
    assert_equals_pure_fold,
    dead,
    fill,
    fold_log,
    produce,
    producing,
    read_all,
    record,
    until,
    until_done,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PARTITIONS = 8
EVENTS = topics.ACCOUNT_EVENTS.name


@pytest.fixture
async def new_worker(brokers: str, tmp_path: Path) -> AsyncIterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def start(name: str = "w1", **environment: str) -> Worker:
        workers.append(Worker(brokers, tmp_path / name, environment).start())
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()


async def test_fills_come_out_as_journal_pnl_positions_and_balances(
    brokers: str, new_worker: Callable[..., Worker]
) -> None:
    report = BalanceReport(time_us=TIME_US + 9, balances={"BTC": Balance(amount("0.02"), amount("0.001"))})
    deposit = Flow(time_us=TIME_US, id="d1", asset="USDT", quantity=amount("100000"), kind=FlowKind.DEPOSIT)
    await produce(
        brokers,
        [
            ("exact", record("exact", deposit, fill(1), fill(2))),
            ("exact", record("exact", fill(2), fill(3, side=Side.SELL))),  # overlaps the page before
            ("exact", record("exact", report)),
            ("other", record("other", fill(1, symbol="ETH"))),
        ],
    )
    worker = new_worker()
    await until_done(brokers, [worker])
    expected = await assert_equals_pure_fold(brokers)
    assert expected.books["exact"].symbols["BTCUSDT"].fills == 3

    balances = {one.key: balance_records.decode(one.value) for one in await read_all(brokers, topics.BALANCES.name)}
    bitcoin = balances[b"exact:BTC"].snapshot
    assert bitcoin.quantity == amount("0.01234567")
    assert bitcoin.difference == amount("0.021") - amount("0.01234567")
    positions = {one.key: position_records.decode(one.value) for one in await read_all(brokers, topics.POSITIONS.name)}
    assert positions[b"exact:BTCUSDT"].snapshot.fills == 3
    assert positions[b"other:ETHUSDT"].snapshot.quantity == amount("0.01234567")
    worker.stop()


async def test_what_cannot_be_read_is_a_dead_letter_and_holds_nothing_up(
    brokers: str, new_worker: Callable[..., Worker]
) -> None:
    account = "malformed"
    home = partition_of(account, PARTITIONS)
    good = record(account, fill(1))
    no_rate = fill(9, symbol="XYZ")
    bad: list[tuple[bytes | None, bytes | None, str]] = [
        (account.encode(), b"no json", "malformed"),
        (account.encode(), b"\xff\xfe\x00", ""),
        (account.encode(), None, "tombstone"),
        (b"stranger", good, "must agree"),
        (None, good, "not the name of an account"),
        (b"~applied:1", good, "not the name of an account"),
        (account.encode(), good.replace(b'"version":1', b'"version":7'), "upgrade"),
        (account.encode(), good.replace(b"account-events", b"other-events"), "$.schema"),
        (account.encode(), b'{"x":' + b"[" * 100_000, ""),
        (account.encode(), b'"' + b"x" * (10 * 1024 * 1024) + b'"', "cut to"),
        (account.encode(), record(account, *[fill(n) for n in range(1001)]), "at most 1000"),
        (account.encode(), record(account, fill(5)).replace(b'"USDT","cash', b'"EUR","cash'), "USDT"),
        (
            account.encode(),
            record(account, replace(no_rate, symbol="XYZABC", quote="ABC")),
            "cannot be valued",
        ),
        (account.encode(), good.replace(b"0.01234567", b"NaN"), ""),
    ]
    async with producing(brokers) as producer:
        await producer.send_and_wait(EVENTS, good, key=account.encode())
        places = [await producer.send_and_wait(EVENTS, v, key=k, partition=home) for k, v, _ in bad]
        away = await producer.send_and_wait(EVENTS, good, key=account.encode(), partition=(home + 1) % PARTITIONS)
        await producer.send_and_wait(EVENTS, record(account, fill(2)), key=account.encode())
    worker = new_worker()
    await until_done(brokers, [worker])
    letters = await dead(brokers)
    for place, (key, value, reason) in zip(places, bad, strict=True):
        letter = letters[LogPosition(place.partition, place.offset)]
        assert reason in letter.reason
        assert letter.key == key
        assert letter.value == (value if value is None else value[:KEPT_BYTES_MAX])
    assert "murmur2" in letters[LogPosition(away.partition, away.offset)].reason
    expected = await assert_equals_pure_fold(brokers)
    assert expected.books[account].symbols["BTCUSDT"].fills == 2
    worker.stop()


async def test_skipped_records_are_read_again_also_with_a_wiped_directory(
    brokers: str, new_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """The fence: the consumer group is moved ahead of the books, and nothing may be lost by it."""
    accounts = [f"fence{number}" for number in range(6)]
    await produce(brokers, [(name, record(name, fill(1))) for name in accounts])
    worker = new_worker()
    await until_done(brokers, [worker])
    worker.stop()
    await produce(brokers, [(name, record(name, fill(number))) for number in (2, 3) for name in accounts])
    await _commit(brokers, to_end=True)
    shutil.rmtree(tmp_path / "w1")
    await produce(brokers, [(name, record(name, fill(4))) for name in accounts])
    worker = new_worker()
    await until_done(brokers, [worker])
    assert "were skipped: reading again" in worker.log()
    expected = await assert_equals_pure_fold(brokers)
    assert all(expected.books[name].symbols["BTCUSDT"].fills == 4 for name in accounts)
    worker.stop()


async def test_records_read_again_are_published_no_more_but_their_books_are_written_again(
    brokers: str, new_worker: Callable[..., Worker]
) -> None:
    """RocksDB may be ahead of the changelog after a crash: what is read again must reach the changelog all the same."""
    accounts = [f"again{number}" for number in range(4)]
    await produce(brokers, [(name, record(name, fill(number))) for number in (1, 2) for name in accounts])
    log = await read_all(brokers, EVENTS)
    worker = new_worker()
    await until_done(brokers, [worker])
    # Published is not yet applied: what a stop comes between is published again, as it should be.
    await _until_committed(brokers, log)
    worker.stop()
    published = len(await read_all(brokers, topics.JOURNAL.name))
    written = len(await read_all(brokers, topics.BOOKS_CHANGELOG.name))
    await _commit(brokers, to_end=False)
    worker = new_worker()
    await _until_committed(brokers, log)
    worker.stop()
    assert len(await read_all(brokers, topics.JOURNAL.name)) == published
    changelog = await read_all(brokers, topics.BOOKS_CHANGELOG.name)
    assert len(changelog) - written >= len([one for one in log if (one.key or b"").decode() in accounts])
    await assert_equals_pure_fold(brokers)


async def test_a_killed_worker_loses_nothing_and_counts_nothing_twice(
    brokers: str, new_worker: Callable[..., Worker]
) -> None:
    accounts = [f"kill{number}" for number in range(24)]
    first, second = new_worker("w1"), new_worker("w2")
    produced = 0

    async def stream(seconds: float) -> None:
        nonlocal produced
        async with producing(brokers) as producer:
            for _ in range(int(seconds * 20)):
                for name in accounts[produced % 3 :: 3]:
                    await producer.send(EVENTS, record(name, fill(produced), fill(produced + 1)), key=name.encode())
                produced += 1
                await asyncio.sleep(0.05)

    await until(lambda: "Worker ready" in first.log() and "Worker ready" in second.log(), "two workers are ready")
    producing_task = asyncio.create_task(stream(15))
    await asyncio.sleep(3)
    first.kill()
    await asyncio.sleep(7)  # beyond the session timeout: the other worker has taken over
    first = new_worker("w1")
    await producing_task
    await until_done(brokers, [first, second])
    await assert_equals_pure_fold(brokers)
    first.stop()
    second.stop()


async def test_a_table_value_that_is_no_book_stops_the_worker_before_the_event_is_acknowledged(
    brokers: str, new_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    account, changelog = "poisoned", topics.BOOKS_CHANGELOG.name
    home = partition_of(account, PARTITIONS)
    await produce(brokers, [(account, record(account, fill(1)))])
    worker = new_worker()
    await until_done(brokers, [worker])
    worker.stop()
    shutil.rmtree(tmp_path / "w1")
    async with producing(brokers) as producer:
        await producer.send_and_wait(changelog, b"not a book", key=account.encode(), partition=home)
        place = await producer.send_and_wait(EVENTS, record(account, fill(2)), key=account.encode())
    worker = new_worker()
    assert await asyncio.to_thread(worker.wait, 40) != 0
    assert f"stopping: record {EVENTS}[{home}]@{place.offset} cannot be processed (InvalidBook" in worker.log()
    assert await _committed(brokers, home) <= place.offset

    book = fold_log([one for one in await _log_of(brokers, account) if one.offset < place.offset]).books[account]
    assert decode_book(encode_book(book)) == book
    async with producing(brokers) as producer:
        await producer.send_and_wait(changelog, encode_book(book), key=account.encode(), partition=home)
    shutil.rmtree(tmp_path / "w1")
    worker = new_worker()
    await until_done(brokers, [worker])
    await assert_equals_pure_fold(brokers)
    worker.stop()


async def _log_of(brokers: str, account: str) -> list[ConsumerRecord]:
    return [one for one in await read_all(brokers, EVENTS) if one.key == account.encode()]


async def _commit(brokers: str, *, to_end: bool) -> None:
    """Move the worker's group to the end of the log or to its beginning, as a bug or an operator would."""
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, group_id=topics.APP_ID, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(EVENTS, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        offsets = consumer.end_offsets if to_end else consumer.beginning_offsets
        await consumer.commit(await offsets(partitions))
    finally:
        await consumer.stop()


async def _committed(brokers: str, partition: int) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, group_id=topics.APP_ID, enable_auto_commit=False)
    await consumer.start()
    try:
        return await consumer.committed(TopicPartition(EVENTS, partition)) or 0
    finally:
        await consumer.stop()


async def _until_committed(brokers: str, log: list[ConsumerRecord]) -> None:
    """Wait until the worker's group has acknowledged every record."""
    deadline = time.monotonic() + 40
    for partition in {one.partition for one in log}:
        end = 1 + max(one.offset for one in log if one.partition == partition)
        while (at := await _committed(brokers, partition)) < end:
            assert time.monotonic() < deadline, f"partition {partition}: {at} of {end}"
            await asyncio.sleep(0.3)
