"""`portfolio dead-letters` on a real broker."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from infra.settings import Settings
from streams.account_log import partition_of
from streams.creation import ensure_topics
from streams.records import DeadLetter, dead_letters
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS
from tests.support.gateway import reader
from tests.support.stack import Servers

pytestmark = pytest.mark.integration

PARTITIONS = 4
BAD = DeadLetter(
    topic=ACCOUNT_EVENTS.name,
    # Not the partition that the key belongs to: that is what was wrong with the record.
    partition=(partition_of("alice", PARTITIONS) + 1) % PARTITIONS,
    offset=7,
    reason="account 'alice' belongs to another partition",
    time_us=1_700_000_000_000_000,
    key=b"alice",
    value=b'{"schema":"account-events"}',
)
FRAME = DeadLetter(
    topic="binance:user-data",
    partition=-1,
    offset=-1,
    reason="an unknown frame",
    time_us=1_700_000_001_000_000,
    key=b"main",
    value=b"\x1b[2J\xff",
)
CUT = DeadLetter(
    topic=ACCOUNT_EVENTS.name,
    partition=2,
    offset=9,
    reason="no JSON (cut to 8388608 of 9000000 bytes; the record itself is at portfolio.account-events[2]@9)",
    time_us=1_700_000_002_000_000,
    key=b"bob",
    value=b"x" * 8_388_608,
)


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """A broker whose dead letters are nobody else's."""
    with Servers() as servers:
        yield servers.kafka_brokers


@pytest.fixture
async def settings(brokers: str) -> Settings:
    settings = Settings(kafka_brokers=brokers, partitions=PARTITIONS)
    await ensure_topics(settings, on_wait=print, timeout_s=30)
    return settings


@pytest.fixture
async def ids(settings: Settings) -> list[str]:
    """The letters above, kept once more, and their ids."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.brokers, max_request_size=16_000_000)
    await producer.start()
    try:
        sent = [
            await producer.send_and_wait(DEAD_LETTERS.name, dead_letters.encode(letter)) for letter in (BAD, FRAME, CUT)
        ]
    finally:
        await producer.stop()
    return [f"{DEAD_LETTERS.name}:0:{metadata.offset}" for metadata in sent]


def portfolio(settings: Settings, *words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"KAFKA_BROKERS": settings.brokers, "PORTFOLIO_PARTITIONS": str(PARTITIONS)}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "dead-letters", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        input=answer,
        timeout=60,
    )


async def log_of(settings: Settings) -> list[tuple[int, bytes | None, bytes | None]]:
    """Partition, key and value of every record on the log."""
    async with reader(settings) as consumer:
        partitions = [TopicPartition(ACCOUNT_EVENTS.name, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[tuple[int, bytes | None, bytes | None]] = []
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                messages = (await consumer.getmany(partition, timeout_ms=500)).get(partition, [])
                found.extend((message.partition, message.key, message.value) for message in messages)
        return found


async def test_letters_are_listed_newest_first_and_filtered(settings: Settings, ids: list[str]) -> None:
    listed = json.loads(portfolio(settings, "list", "--limit", "3", "--json").stdout)
    assert [row["id"] for row in listed] == list(reversed(ids))
    assert listed[2]["origin"] == f"{ACCOUNT_EVENTS.name}:{BAD.partition}:7"

    by_reason = json.loads(portfolio(settings, "list", "--reason", "unknown frame", "--limit", "1", "--json").stdout)
    assert [row["id"] for row in by_reason] == [ids[1]]
    by_topic = json.loads(portfolio(settings, "list", "--topic", ACCOUNT_EVENTS.name, "--json").stdout)
    assert {row["origin"].split(":")[0] for row in by_topic} == {ACCOUNT_EVENTS.name}
    assert ids[0] in portfolio(settings, "list").stdout


async def test_a_letter_is_shown_as_text_or_hex(settings: Settings, ids: list[str]) -> None:
    text = portfolio(settings, "show", ids[0]).stdout
    assert '(text) {"schema":"account-events"}' in text
    assert BAD.reason in text

    shown = json.loads(portfolio(settings, "show", ids[1], "--json").stdout)
    assert shown["value"] == {"as": "hex", "content": "1b5b324aff"}


async def test_a_record_goes_back_to_the_partition_of_its_key(settings: Settings, ids: list[str]) -> None:
    before = await log_of(settings)

    done = portfolio(settings, "retry", ids[0], "--yes")

    assert done.returncode == 0, done.stderr
    after = await log_of(settings)
    assert len(after) == len(before) + 1
    assert (partition_of("alice", PARTITIONS), BAD.key, BAD.value) in after
    assert BAD.partition not in {partition for partition, _key, _value in after}


async def test_nothing_is_published_before_the_user_has_agreed(settings: Settings, ids: list[str]) -> None:
    before = await log_of(settings)

    refused = portfolio(settings, "retry", ids[0], answer="n\n")
    assert refused.returncode == 1
    assert await log_of(settings) == before

    assert portfolio(settings, "retry", ids[0], answer="y\n").returncode == 0
    assert len(await log_of(settings)) == len(before) + 1


async def test_what_the_gateway_kept_and_what_was_cut_is_refused(settings: Settings, ids: list[str]) -> None:
    before = await log_of(settings)

    frame, cut = (portfolio(settings, "retry", each, "--yes") for each in ids[1:])

    assert (frame.returncode, cut.returncode) == (1, 1)
    assert "binance:user-data, which is no topic" in frame.stderr
    assert "only its beginning was kept" in cut.stderr
    assert await log_of(settings) == before


async def test_all_leaves_out_what_cannot_be_retried(settings: Settings, ids: list[str]) -> None:
    before = await log_of(settings)
    kept = json.loads(portfolio(settings, "list", "--reason", "another partition", "--json").stdout)

    done = portfolio(settings, "retry", "--all", "--yes")

    assert done.returncode == 0, done.stderr
    assert ids[1] in done.stderr
    assert ids[2] in done.stderr
    assert len(await log_of(settings)) == len(before) + len(kept)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("show", "nonsense"), "is no id of a dead letter"),
        (("show", "portfolio.dead-letters:0:999999"), "there is no dead letter"),
        (("retry",), "which dead letter?"),
        (("retry", "portfolio.dead-letters:0:0", "--all"), "exclude each other"),
    ],
)
async def test_a_wrong_call_is_one_line(settings: Settings, words: tuple[str, ...], remedy: str) -> None:
    done = portfolio(settings, *words)

    assert done.returncode == 1
    assert remedy in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_a_broker_that_is_away_is_one_line(settings: Settings) -> None:
    away = settings.model_copy(update={"kafka_brokers": "127.0.0.1:9"})

    done = portfolio(away, "list")

    assert done.returncode == 1
    assert "Kafka at 127.0.0.1:9" in done.stderr
    assert len(done.stderr.splitlines()) == 1
