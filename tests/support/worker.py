"""Real workers for tests, and the log they read, seen from outside with plain aiokafka."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from portfolio import Book, Event, Fill, LogPosition, Side, amount, exact_arithmetic, fold
from portfolio.snapshots import LedgerUpdate, describe_update
from streams import topics
from streams.account_log import begin_book
from streams.records import AccountEvents, DeadLetter, account_events, dead_letters, journal_records, pnl_records

TIME_US = 1_700_000_000_000_000
DONE_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 10.0


@dataclass
class Worker:
    """`faust -A streams.app worker` as a process of its own, started from a directory that is not the repository."""

    brokers: str
    data: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        return self.data.with_suffix(".log")

    def log(self) -> str:
        return self.log_file.read_text()

    def tail(self) -> str:
        """The end of its log, without what it says of the Postgres and the Redis that it does not have."""
        return "\n".join([line for line in self.log().splitlines() if "('127.0.0.1', 1)" not in line][-30:])

    def start(self) -> "Worker":
        self.data.parent.mkdir(parents=True, exist_ok=True)
        faust = [sys.executable, "-m", "faust", "-A", "streams.app", "--datadir", str(self.data)]
        nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*faust, "worker", "-l", "info", "--without-web"],
                cwd=self.data.parent,
                env={**os.environ, **nowhere, "KAFKA_BROKERS": self.brokers, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def wait(self, timeout_s: float) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop it as a supervisor would, and see that it stops well and soon."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.wait(timeout_s) == 0, self.log()[-4000:]

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def fill(number: int, *, side: Side = Side.BUY, symbol: str = "BTC", price: str = "60000.12", time_us: int = 0) -> Fill:
    return Fill(
        symbol=f"{symbol}USDT",
        base=symbol,
        quote="USDT",
        side=side,
        price=amount(price) + number,
        quantity=amount("0.01234567"),
        fee=amount("0.000001"),
        fee_asset="BNB",
        rates={"BNB": Decimal("312.5")},
        trade_id=number,
        order_id=number,
        time_us=time_us or TIME_US + number,
    )


def record(account: str, *events: Event) -> bytes:
    return account_events.encode(AccountEvents(account=account, reporting="USDT", events=events))


@asynccontextmanager
async def producing(brokers: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=brokers, max_request_size=topics.MESSAGE_BYTES_MAX)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def produce(brokers: str, records: Sequence[tuple[str, bytes]], topic: str = topics.ACCOUNT_EVENTS.name) -> None:
    async with producing(brokers) as producer:
        sent = [await producer.send(topic, value, key=account.encode()) for account, value in records]
        await asyncio.gather(*sent)


@asynccontextmanager
async def consuming(brokers: str, *names: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of every partition of the topics, from the beginning, in no group."""
    consumer = AIOKafkaConsumer(
        *names,
        bootstrap_servers=brokers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_bytes=topics.MESSAGE_BYTES_MAX,
        max_partition_fetch_bytes=topics.MESSAGE_BYTES_MAX,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_all(brokers: str, topic: str) -> list[ConsumerRecord]:
    """Everything that a topic has now."""
    async with consuming(brokers, topic) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        records: list[ConsumerRecord] = []
        while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
            for found in (await consumer.getmany(timeout_ms=200)).values():
                records.extend(found)
        return records


@dataclass(frozen=True)
class Expected:
    """What a pure fold of the log comes to."""

    books: dict[str, Book]
    updates: dict[LogPosition, LedgerUpdate]


def fold_log(records: Sequence[ConsumerRecord]) -> Expected:
    """The oracle: no Faust, no table, no retry. It takes only records that are right."""
    books: dict[str, Book] = {}
    updates: dict[LogPosition, LedgerUpdate] = {}
    for found in sorted(records, key=lambda one: (one.partition, one.offset)):
        page = account_events.decode(found.value)
        before = books.get(page.account) or begin_book(page)
        position = LogPosition(found.partition, found.offset)
        outcome = fold(before, page.events, position=position)
        books[page.account] = outcome.book
        updates[position] = describe_update(outcome, position)
    return Expected(books, updates)


async def dead(brokers: str) -> dict[LogPosition, DeadLetter]:
    """The dead letters that came from the log."""
    letters = [dead_letters.decode(found.value) for found in await read_all(brokers, topics.DEAD_LETTERS.name)]
    return {
        LogPosition(letter.partition, letter.offset): letter
        for letter in letters
        if letter.topic == topics.ACCOUNT_EVENTS.name
    }


async def until_done(brokers: str, workers: Sequence[Worker] = ()) -> None:
    """Wait until each record of the log has its journal record or its dead letter."""
    log = {LogPosition(one.partition, one.offset) for one in await read_all(brokers, topics.ACCOUNT_EVENTS.name)}
    missing = set(log)
    deadline = time.monotonic() + DONE_TIMEOUT_S
    async with consuming(brokers, topics.JOURNAL.name, topics.DEAD_LETTERS.name) as consumer:
        while missing:
            for tp, found in (await consumer.getmany(timeout_ms=300)).items():
                read = _journal_position if tp.topic == topics.JOURNAL.name else _dead_letter_position
                missing -= {position for one in found if (position := read(one.value)) is not None}
            tails = "\n".join(worker.tail() for worker in workers)
            assert not missing or time.monotonic() < deadline, f"missing: {sorted(missing)}\n{tails}"


def _journal_position(value: bytes) -> LogPosition | None:
    return journal_records.decode(value).update.position


def _dead_letter_position(value: bytes) -> LogPosition | None:
    letter = dead_letters.decode(value)
    return LogPosition(letter.partition, letter.offset) if letter.topic == topics.ACCOUNT_EVENTS.name else None


async def assert_equals_pure_fold(brokers: str) -> Expected:
    """Journal and pnl are what a pure fold of the log gives, exactly; what is published twice is the same twice."""
    letters = await dead(brokers)
    log = await read_all(brokers, topics.ACCOUNT_EVENTS.name)
    expected = fold_log([one for one in log if LogPosition(one.partition, one.offset) not in letters])
    journal = [journal_records.decode(one.value).update for one in await read_all(brokers, topics.JOURNAL.name)]
    assert {update.position for update in journal} == expected.updates.keys()
    for update in journal:
        assert update == expected.updates[update.position]
    last = {}
    for one in await read_all(brokers, topics.PNL.name):
        pnl = pnl_records.decode(one.value)
        if pnl.cause == "book":
            last[pnl.snapshot.account] = pnl.snapshot
    final = {update.account: update.snapshot for _, update in sorted(expected.updates.items())}
    assert last == final
    for snapshot in final.values():
        with exact_arithmetic():
            assert snapshot.equity == snapshot.net_flows + snapshot.realized + snapshot.unrealized
    return expected


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)
