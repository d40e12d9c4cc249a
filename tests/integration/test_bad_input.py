"""Whatever a producer may send: it goes to the dead letters with its reason, and the next good record is booked."""

import asyncio
import struct
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c_py

from infra.settings import Settings
from portfolio import LogPosition
from streams import topics
from streams.account_log import partition_of
from streams.creation import ensure_topics
from streams.records import DeadLetter, dead_letters, journal_records, marks_pages
from tests.support.worker import (
    TIME_US,
    Worker,
    assert_equals_pure_fold,
    consuming,
    dead,
    fill,
    producing,
    read_all,
    record,
    until_done,
)

pytestmark = pytest.mark.integration

PARTITIONS = 8
EVENTS = topics.ACCOUNT_EVENTS.name
MARKS = topics.MARKS.name
UNKNOWN_CODECS = (5, 6, 7)
POISON = 100_000
RUN_MAX = 64
"""Letters that may be on their way when a worker dies."""
GROWTH_MIB_MAX = 100


@pytest.fixture(scope="module")
def worker(own_brokers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker for all tests: nothing that comes in may stop it."""
    asyncio.run(_make_topics(own_brokers))
    running = Worker(own_brokers, tmp_path_factory.mktemp("worker") / "w1").start()
    yield running
    running.stop()


async def _make_topics(brokers: str) -> None:
    await ensure_topics(Settings(kafka_brokers=brokers), on_wait=print, timeout_s=30)


def changed(good: bytes, old: str, new: str) -> bytes:
    assert old.encode() in good
    return good.replace(old.encode(), new.encode())


def poison(account: str) -> dict[str, tuple[bytes, str]]:
    """Records of one fill, each spoilt in one place, and what the reason must say."""
    good = record(account, fill(1))
    quantity, moment = '"quantity":"0.01234567"', f'"time_us":{TIME_US + 1}'
    return {
        "truncated": (good[: len(good) // 2], "truncated"),
        "empty": (b"", "truncated"),
        "of another kind": (b"[]", "Expected `object`"),
        "infinite": (changed(good, quantity, '"quantity":"Infinity"'), "not a finite number"),
        "no number at all": (changed(good, quantity, '"quantity":"NaN"'), "not a finite number"),
        "negative": (changed(good, quantity, '"quantity":"-1"'), "above zero"),
        "zero": (changed(good, quantity, '"quantity":"0"'), "above zero"),
        "beyond all digits": (changed(good, quantity, '"quantity":"1e400"'), "more than 24 digits"),
        "of a wrong type": (changed(good, quantity, '"quantity":[1]'), "$.events[0].quantity"),
        "a number too large for an id": (changed(good, '"trade_id":1', f'"trade_id":{2**63}'), "64 bits"),
        "before there was money": (changed(good, moment, '"time_us":-5'), "time -5"),
        "in milliseconds": (changed(good, moment, f'"time_us":{TIME_US // 1000}'), "epoch microseconds"),
        "in nanoseconds": (changed(good, moment, f'"time_us":{TIME_US * 1000}'), "before the year 2100"),
        "without a rate": (changed(good, '"rates":{"BNB":"312.5"}', '"rates":{}'), '"rates": {"BNB"'),
        "with a negative rate": (changed(good, '"312.5"', '"-312.5"'), "rate of BNB is negative"),
        "an unknown event": (changed(good, '"type":"fill"', '"type":"split"'), "'split'"),
        "NUL in a name": (changed(good, "BTCUSDT", "BTC\\u0000USDT"), "NUL"),
        "an endless name": (changed(good, "BTCUSDT", "B" * 10_000), "length"),
        "no UTF-8": (good.replace(b"account-events", b"account\x80"), "utf-8"),
        "half a character": (changed(good, "BTCUSDT", "\\ud800"), "surrogate"),
    }


async def test_each_spoilt_record_is_a_dead_letter_and_the_next_good_one_is_booked(worker: Worker) -> None:
    account = "spoilt"
    home, spoilt = partition_of(account, PARTITIONS), poison(account)
    async with producing(worker.brokers) as producer:
        places = {
            name: await producer.send_and_wait(EVENTS, value, key=account.encode())
            for name, (value, _) in spoilt.items()
        }
        # An instrument that nobody has heard of is no error: the record says what it is made of.
        await producer.send_and_wait(EVENTS, record(account, fill(1), fill(2, symbol="WHO")), key=account.encode())
    await until_done(worker.brokers, [worker])

    letters = await dead(worker.brokers)
    for name, (value, reason) in spoilt.items():
        letter = letters[LogPosition(home, places[name].offset)]
        assert reason in letter.reason, name
        assert (letter.topic, letter.key, letter.value) == (EVENTS, account.encode(), value), name
    expected = await assert_equals_pure_fold(worker.brokers)
    assert sorted(expected.books[account].symbols) == ["BTCUSDT", "WHOUSDT"]


async def test_marks_that_are_no_prices_are_dead_letters_and_move_nothing(worker: Worker) -> None:
    good = b'{"schema":"marks","version":1,"time_us":%d,"rates":{"USDT":{"BTC":"60000"}}}' % TIME_US
    marks_pages.decode(good)
    spoilt = {
        b"": "truncated",
        b"\xff\xfe": "malformed",
        changed(good, '"60000"', '"NaN"'): "not a finite number",
        changed(good, '"60000"', '"sNaN"'): "not a finite number",
        changed(good, '"60000"', '"-Infinity"'): "not a finite number",
        changed(good, '"60000"', '"-1"'): "negative",
        changed(good, '"60000"', '"1e999999"'): "more than 24 digits",
        changed(good, str(TIME_US), str(TIME_US * 1000)): "from 2009 to 2100",
        changed(good, '"BTC"', '"\\u0000"'): "NUL",
        b"[" * 500_000: "",
        b'"' + b"x" * (10 * 1024 * 1024) + b'"': "cut to",
    }
    async with producing(worker.brokers) as producer:
        places = [(await producer.send_and_wait(MARKS, each, partition=3), why) for each, why in spoilt.items()]
        places.append((await producer.send_and_wait(MARKS, None, key=b"3", partition=3), "tombstone"))

    letters = await _letters_of(worker.brokers, MARKS, len(places))
    for metadata, reason in places:
        assert reason in letters[metadata.offset].reason
    assert worker.process is not None
    assert worker.process.poll() is None


async def test_every_codec_of_kafka_is_read(worker: Worker) -> None:
    account = "codecs"
    for number, codec in enumerate((None, "gzip", "snappy", "lz4", "zstd"), 1):
        producer = AIOKafkaProducer(bootstrap_servers=worker.brokers, compression_type=codec)
        await producer.start()
        try:
            await producer.send_and_wait(EVENTS, record(account, fill(number)), key=account.encode())
        finally:
            await producer.stop()
    await until_done(worker.brokers, [worker])

    expected = await assert_equals_pure_fold(worker.brokers)
    assert expected.books[account].symbols["BTCUSDT"].fills == 5


async def test_a_batch_of_an_unknown_codec_or_with_a_wrong_checksum_is_refused_by_the_broker(worker: Worker) -> None:
    """It never reaches the log, where no consumer could read past it."""
    account = "batches"
    value, home = record(account, fill(1)), partition_of(account, PARTITIONS)
    good = _batch(account.encode(), value)
    client = AIOKafkaClient(bootstrap_servers=worker.brokers)
    await client.bootstrap()
    try:
        await client.force_metadata_update()
        refused = [await _produce_raw(client, home, _with_codec(good, codec)) for codec in UNKNOWN_CODECS]
        refused.append(await _produce_raw(client, home, good[:-3] + b"\0\0\0"))
        assert all(refused), refused
        assert await _produce_raw(client, home, _with_codec(good, 0)) == 0
    finally:
        await client.close()
    await until_done(worker.brokers, [worker])
    expected = await assert_equals_pure_fold(worker.brokers)
    assert expected.books[account].symbols["BTCUSDT"].fills == 1


def _batch(key: bytes, value: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1_000_000,
    )
    builder.append(0, int(time.time() * 1000), key, value, [])
    return bytes(builder.build())


def _with_codec(batch: bytes, codec: int) -> bytes:
    """The batch under the name of another codec, with the checksum that goes with it."""
    rest = struct.pack(">h", codec) + batch[23:]
    return batch[:17] + struct.pack(">I", calc_crc32c_py(rest)) + rest


async def _produce_raw(client: AIOKafkaClient, partition: int, batch: bytes) -> int:
    """Send a batch as it is; returns Kafka's error code."""
    request = ProduceRequest(
        transactional_id=None, required_acks=-1, timeout=10_000, topics=[(EVENTS, [(partition, batch)])]
    )
    node = client.cluster.brokers().pop().nodeId
    response = await client.send(node, request)
    code: int = response.topics[0][1][0][1]
    return code


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_worker_killed_in_a_flood_of_poison_loses_no_letter_and_books_each_good_record_once(
    worker: Worker, measured: Callable[[str], None]
) -> None:
    account = "killed"
    home, before = partition_of(account, PARTITIONS), await _end_of_letters(worker.brokers)
    flood = [
        record(account, fill(1 + number // 50)) if number % 50 == 49 else b'{"poison":%d}' % number
        for number in range(10_000)
    ]
    async with producing(worker.brokers) as producer:
        sent = [await producer.send(EVENTS, value, key=account.encode()) for value in flood]
        places = [(await one).offset for one in sent]
    spoilt = {place for place, value in zip(places, flood, strict=True) if value.startswith(b'{"poison"')}

    for so_many in (1_500, 4_000, 6_500):
        deadline = time.monotonic() + 120
        while (letters := await _end_of_letters(worker.brokers) - before) < so_many:
            assert time.monotonic() < deadline, f"{letters} dead letters"
            await asyncio.sleep(0.02)
        worker.kill()
        assert await _end_of_letters(worker.brokers) - before < len(spoilt), "the flood was over before"
        worker.start()
    await until_done(worker.brokers, [worker])

    expected = await assert_equals_pure_fold(worker.brokers)
    assert expected.books[account].symbols["BTCUSDT"].fills == 200
    kept = [one.offset for one in await _all_letters(worker.brokers) if (one.topic, one.partition) == (EVENTS, home)]
    assert spoilt <= set(kept)
    twice = len(kept) - len(set(kept))
    measured(f"{len(spoilt):,} poison records and 200 good ones, killed three times: {twice} letters came twice")
    assert twice <= 3 * RUN_MAX


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_hundred_thousand_poison_records_in_a_row(worker: Worker, measured: Callable[[str], None]) -> None:
    """All in one partition, with a good record behind them, which does not wait long; memory stays bounded."""
    account, before = "poisoned", await _end_of_letters(worker.brokers)
    async with producing(worker.brokers) as producer:
        sent = [
            await producer.send(EVENTS, b'{"poison":%d}' % number, key=account.encode()) for number in range(POISON)
        ]
        await asyncio.gather(*sent)
        await producer.send_and_wait(EVENTS, record(account, fill(1)), key=account.encode())

    assert worker.process is not None
    process, began, memory_mib = psutil.Process(worker.process.pid), time.monotonic(), []
    while (letters := await _end_of_letters(worker.brokers) - before) < POISON:
        memory_mib.append(process.memory_info().rss / 2**20)
        assert time.monotonic() - began < 600, f"{letters} dead letters"
        await asyncio.sleep(0.5)
    seconds = time.monotonic() - began
    await _until_booked(worker.brokers, {account})
    measured(
        f"{POISON:,} poison records in {seconds:.0f} s ({POISON / seconds:.0f} a second); "
        f"memory {memory_mib[0]:.0f} MiB at first, {max(memory_mib):.0f} MiB at most"
    )
    assert max(memory_mib) - memory_mib[0] < GROWTH_MIB_MAX


async def _until_booked(brokers: str, accounts: set[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        journal = [journal_records.decode(one.value).update for one in await read_all(brokers, topics.JOURNAL.name)]
        missing = accounts - {update.account for update in journal}
        if not missing:
            return
        assert time.monotonic() < deadline, f"not booked: {missing}"
        await asyncio.sleep(0.3)


async def _end_of_letters(brokers: str) -> int:
    async with consuming(brokers, topics.DEAD_LETTERS.name) as consumer:
        ends: dict[object, int] = await consumer.end_offsets(consumer.assignment())
        return sum(ends.values())


async def _letters_of(brokers: str, topic: str, count: int) -> dict[int, DeadLetter]:
    deadline = time.monotonic() + 60
    while True:
        letters = {letter.offset: letter for letter in (await _all_letters(brokers)) if letter.topic == topic}
        if len(letters) >= count:
            return letters
        assert time.monotonic() < deadline, f"{len(letters)} of {count} dead letters"
        await asyncio.sleep(0.3)


async def _all_letters(brokers: str) -> list[DeadLetter]:
    return [dead_letters.decode(one.value) for one in await read_all(brokers, topics.DEAD_LETTERS.name)]
