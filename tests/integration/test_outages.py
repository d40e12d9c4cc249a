"""A dependency that is away for long: nothing is lost, memory stays bounded, and the figures are shown."""

import asyncio
import itertools
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest
from pydantic import SecretStr

from infra.embedded.kafka import EmbeddedKafka
from infra.embedded.postgres import EmbeddedPostgres
from infra.postgres.migrate import migrate
from infra.settings import Settings
from streams import topics
from streams.records import pnl_records
from tests.support.gateway import GatewayProcess, Trader, eventually, folded, holdings, own_exchange, read_log
from tests.support.stack import bring_up, embedded_kafka, embedded_postgres
from tests.support.worker import Worker, assert_equals_pure_fold, fill, produce, read_all, record, until_done

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

OUTAGE_S = 120.0
ORDERS_EVERY_S = 0.1
GROWTH_MIB_MAX = 120
EXPIRES_S = 10
BACKLOG = 3_200


class Memory:
    """The resident memory of processes, watched."""

    def __init__(self, **pids: int | None) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items() if pid is not None}
        self.first = self._now()
        self.most = dict(self.first)

    def _now(self) -> dict[str, float]:
        return {name: process.memory_info().rss / 2**20 for name, process in self._processes.items()}

    def look(self) -> None:
        for name, size in self._now().items():
            self.most[name] = max(self.most[name], size)

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {self.first[name]:.0f} MiB before, {self.most[name]:.0f} at most" for name in self.first
        )

    @property
    def growth(self) -> float:
        return max(self.most[name] - self.first[name] for name in self.first)


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        part = embedded_kafka(Path(directory))
        bring_up(part)
        yield part
        part.process.stop()


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        part = embedded_postgres(Path(directory))
        bring_up(part)
        yield part
        part.process.stop()


@pytest.fixture
async def settings(kafka: EmbeddedKafka, postgres: EmbeddedPostgres) -> AsyncIterator[Settings]:
    options = {"database_url": SecretStr(postgres.address), "redis_url": SecretStr("redis://127.0.0.1:1/0")}
    async with own_exchange(kafka.address, balance_sync_interval_s=5.0, **options) as settings:
        await migrate(postgres.address)
        yield settings


@pytest.fixture
async def trader(settings: Settings) -> AsyncIterator[Trader]:
    trader = Trader.on_own_exchange(settings)
    yield trader
    await trader.close()


@pytest.fixture
async def gateway(settings: Settings, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    process = GatewayProcess(settings, tmp_path / "gateway.log")
    await process.start()
    yield process
    await process.stop(signal.SIGKILL)


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[Worker]:
    running = Worker(settings.brokers, tmp_path / "w1", {"DATABASE_URL": settings.database_dsn}).start()
    yield running
    running.kill()


async def trade(trader: Trader, over: asyncio.Event) -> int:
    """Orders, until the event; returns how many."""
    for number in itertools.count():
        if over.is_set():
            return number
        with suppress(AssertionError):
            await trader.market_order("BTCUSDT", "BUY" if number % 2 == 0 else "SELL", "0.0004")
        await asyncio.sleep(ORDERS_EVERY_S)
    raise AssertionError


async def watch(seconds: float, memory: Memory) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        memory.look()
        await asyncio.sleep(0.5)


def agrees(settings: Settings, trader: Trader) -> Callable[[], object]:
    async def check() -> bool:
        book, _ = await folded(settings)
        trades = sum(totals.fills for totals in book.symbols.values())
        return trades == len((await trader.books())["trades"]) and holdings(book) == await trader.totals()

    return check


async def test_kafka_away_under_trade_load(
    settings: Settings,
    kafka: EmbeddedKafka,
    trader: Trader,
    gateway: GatewayProcess,
    worker: Worker,
    measured: Callable[[str], None],
) -> None:
    """The exchange keeps what the gateway could not publish; a gap is read over REST when Kafka is back."""
    over = asyncio.Event()
    trading = asyncio.create_task(trade(trader, over))
    await eventually(lambda: _has_records(settings, 20), timeout_s=90)
    memory = Memory(gateway=gateway.pid, worker=worker.process.pid if worker.process else None)

    kafka.process.stop()
    await watch(OUTAGE_S, memory)
    await asyncio.to_thread(bring_up, kafka)
    back = time.monotonic()
    over.set()
    orders = await trading
    await eventually(agrees(settings, trader), timeout_s=120)  # type: ignore[arg-type]
    caught_up_s = time.monotonic() - back
    await watch(5, memory)
    assert await gateway.stop(timeout_s=60) == 0
    await until_done(settings.brokers, [worker])
    await assert_equals_pure_fold(settings.brokers)

    measured(f"Kafka away for {OUTAGE_S:.0f} s at {orders} orders: caught up in {caught_up_s:.1f} s; {memory}")
    assert memory.growth < GROWTH_MIB_MAX


async def test_a_worker_whose_changelog_entries_expire_stops_and_its_successor_reads_the_records_again(
    settings: Settings, kafka: EmbeddedKafka, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    """Kafka away for longer than the producer keeps a record: 300 s, here ten.

    What the next record is folded into might not be in the changelog, so the worker does not go on.
    """
    accounts = [f"expires{number}" for number in range(16)]
    records = [(name, record(name, fill(number))) for number in range(1, BACKLOG // 16 + 1) for name in accounts]
    await produce(settings.brokers, records)
    environment = {"DATABASE_URL": settings.database_dsn, "PRODUCER_REQUEST_TIMEOUT": str(EXPIRES_S)}
    worker = Worker(settings.brokers, tmp_path / "w1", environment).start()
    try:
        await eventually(lambda: _has_told(settings, BACKLOG // 20), timeout_s=90, what=worker.log)
        kafka.process.stop()
        away = time.monotonic()
        exit_code = await asyncio.to_thread(worker.wait, 120)
        stopped_s = time.monotonic() - away
        assert exit_code != 0
        assert "did not reach its changelog: stopping" in worker.log(), worker.log()[-4_000:]

        again = await _told_again_by_a_successor(settings, kafka, worker, len(records))
        measured(
            f"Kafka away, records expire after {EXPIRES_S} s: the worker was gone after {stopped_s:.0f} s; its "
            f"successor told {again} of {len(records)} records once more, booked none twice"
        )
    finally:
        worker.kill()


async def test_a_worker_that_is_asked_to_stop_while_kafka_is_away_leaves_and_nothing_is_lost(
    settings: Settings, kafka: EmbeddedKafka, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    """It cannot finish the records in its hands, and does not wait until it can."""
    accounts = [f"leaves{number}" for number in range(16)]
    records = [(name, record(name, fill(number))) for number in range(1, BACKLOG // 16 + 1) for name in accounts]
    await produce(settings.brokers, records)
    worker = Worker(settings.brokers, tmp_path / "w1", {"DATABASE_URL": settings.database_dsn}).start()
    try:
        await eventually(lambda: _has_told(settings, BACKLOG // 20), timeout_s=90, what=worker.log)
        kafka.process.stop()
        asked = time.monotonic()
        assert worker.process is not None
        worker.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(worker.wait, 90)
        left_s = time.monotonic() - asked
        again = await _told_again_by_a_successor(settings, kafka, worker, len(records))
        measured(
            f"Kafka away, the worker was asked to stop: gone after {left_s:.0f} s; its successor told {again} of "
            f"{len(records)} records once more, booked none twice"
        )
    finally:
        worker.kill()


async def _told_again_by_a_successor(settings: Settings, kafka: EmbeddedKafka, worker: Worker, count: int) -> int:
    """Bring Kafka and the worker back, and wait until every record is booked once; how many were told twice."""
    await asyncio.to_thread(bring_up, kafka)
    told_before = len(await read_all(settings.brokers, topics.JOURNAL.name))
    assert told_before < BACKLOG, "it was done before Kafka went away"
    worker.start()
    await until_done(settings.brokers, [worker])
    await assert_equals_pure_fold(settings.brokers)
    await eventually(lambda: _has_fills(settings.database_dsn, count), timeout_s=120, what=worker.log)
    return len(await read_all(settings.brokers, topics.JOURNAL.name)) - count


async def _has_told(settings: Settings, count: int) -> bool:
    return len(await read_all(settings.brokers, topics.JOURNAL.name)) >= count


async def _has_records(settings: Settings, count: int) -> bool:
    return len(await read_log(settings)) >= count


async def test_postgres_away_under_trade_load(
    settings: Settings,
    postgres: EmbeddedPostgres,
    trader: Trader,
    gateway: GatewayProcess,
    worker: Worker,
    measured: Callable[[str], None],
) -> None:
    """The pnl topic does not wait for Postgres; the sink reads on from where Postgres stands when it is back."""
    over = asyncio.Event()
    trading = asyncio.create_task(trade(trader, over))
    await eventually(lambda: _has_records(settings, 20), timeout_s=90)
    memory = Memory(worker=worker.process.pid if worker.process else None)

    postgres.process.stop()
    away_ms = time.time() * 1000
    await watch(OUTAGE_S, memory)
    back_ms, back = time.time() * 1000, time.monotonic()
    await asyncio.to_thread(bring_up, postgres)
    over.set()
    orders = await trading
    trades = len((await trader.books())["trades"])
    await eventually(lambda: _has_fills(postgres.address, trades), timeout_s=120)
    caught_up_s = time.monotonic() - back

    told = [one for one in await read_all(settings.brokers, topics.PNL.name) if away_ms < one.timestamp < back_ms]
    by_books = [one.timestamp for one in told if pnl_records.decode(one.value).cause == "book"]
    silence_s = max(later - earlier for earlier, later in itertools.pairwise([away_ms, *by_books, back_ms])) / 1000
    measured(
        f"Postgres away for {OUTAGE_S:.0f} s at {orders} orders: {len(by_books)} pnl records meanwhile, "
        f"longest silence {silence_s:.1f} s; caught up in {caught_up_s:.1f} s; {memory}"
    )
    assert silence_s < 15
    assert memory.growth < GROWTH_MIB_MAX


async def _has_fills(address: str, count: int) -> bool:
    connection = await asyncpg.connect(address)
    try:
        return bool(await connection.fetchval("SELECT count(*) FROM fills") == count)
    finally:
        await connection.close()
