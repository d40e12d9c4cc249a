"""`portfolio dead-letters` on a real broker."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from msgspec.structs import replace

from infra.errors import RemediableError
from infra.settings import Settings
from streams.account_log import partition_of
from streams.creation import ensure_topics
from streams.dead_letter_box import LetterId, Wanted, newest_letters, publish_again
from streams.records import DeadLetter, dead_letters
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS
from tests.support.gateway import reader

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


@pytest.fixture
async def settings(own_brokers: str) -> Settings:
    settings = Settings(kafka_brokers=own_brokers, partitions=PARTITIONS)
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


def portfolio(
    settings: Settings, *words: str, answer: str = "", timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"KAFKA_BROKERS": settings.brokers, "PORTFOLIO_PARTITIONS": str(PARTITIONS)}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "dead-letters", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        input=answer,
        timeout=timeout_s,
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
    assert "left out, which cannot be" in done.stdout
    assert len(await log_of(settings)) == len(before) + len(kept)


async def test_letters_are_paged_filtered_by_account_and_counted_by_kind(settings: Settings, ids: list[str]) -> None:
    bad, frame, cut = map(LetterId.parse, ids)

    async def listed(limit: int = 50, **wanted: Any) -> list[LetterId]:
        return [heading.id for heading in await newest_letters(settings, Wanted(**wanted), limit)]

    assert await listed(2) == [cut, frame]
    assert await listed(1, before=frame) == [bad]
    assert await listed(after=bad) == [cut, frame]
    assert await listed(1, account="alice") == [bad]
    assert await listed(account="nobody") == []
    assert await listed(after=cut) == []

    done = portfolio(settings, "list", "--limit", "1")
    assert f"older ones: --before {cut}" in done.stderr
    (kind,) = json.loads(portfolio(settings, "list", "--summary", "--json", "--after", str(frame)).stdout)
    assert kind["count"] == 1
    assert kind["topic"] == ACCOUNT_EVENTS.name
    assert kind["reason"].startswith("no JSON (cut to # of # bytes")


async def test_a_range_is_retried_and_what_a_retry_adds_is_not_looked_at(settings: Settings, ids: list[str]) -> None:
    before = await log_of(settings)
    await _keep(settings, [replace(BAD, offset=number) for number in range(1200)])
    last = json.loads(portfolio(settings, "list", "--limit", "1", "--json").stdout)[0]["id"]

    done = portfolio(
        settings, "retry", "--all", "--after", ids[2], "--before", last, "--account", "alice", answer="y\n"
    )

    assert done.returncode == 0, done.stderr
    assert f"1199 record(s) to {ACCOUNT_EVENTS.name}" in done.stderr
    assert "1199 published again" in done.stdout
    assert len(await log_of(settings)) == len(before) + 1199


async def test_a_record_with_neither_key_nor_value_is_refused(settings: Settings) -> None:
    with pytest.raises(RemediableError, match="neither key nor value"):
        await publish_again(settings, replace(BAD, key=None, value=None))


async def _keep(settings: Settings, letters: Sequence[DeadLetter]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.brokers) as producer:
        sent = [await producer.send(DEAD_LETTERS.name, dead_letters.encode(letter)) for letter in letters]
        await asyncio.gather(*sent)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_hundred_thousand_letters_are_listed_counted_and_retried(
    settings: Settings, ids: list[str], measured: Callable[[str], None]
) -> None:
    for _ in range(10):
        await _keep(settings, [replace(BAD, offset=number) for number in range(10_000)])
    took: dict[str, float] = {}

    def timed(name: str, *words: str) -> str:
        began = time.monotonic()
        done = portfolio(settings, *words, timeout_s=300)
        took[name] = time.monotonic() - began
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert timed("list", "list", "--limit", "5", "--json").count('"id"') == 5
    assert timed("show", "show", ids[0])
    assert "100,000" in timed("summary", "list", "--summary", "--after", ids[2])
    assert "100000 published again" in timed("retry", "retry", "--all", "--yes", "--after", ids[2])
    measured("100,000 dead letters: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
    assert took["list"] < 15
    assert took["show"] < 15


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
