"""Topics on a real broker: created once, reported, and refused where they would break the books."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.embedded.checks import free_port
from infra.errors import RemediableError
from infra.settings import Settings
from streams.creation import TopicState, ensure_topics
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS, TOPICS, TopicSpec
from tests.support.stack import Servers

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def own_brokers() -> Iterator[str]:
    """A broker that has no topics yet."""
    with Servers() as servers:
        yield servers.kafka_brokers


async def test_topics_are_created_once_and_then_reported(own_brokers: str) -> None:
    settings = Settings(kafka_brokers=own_brokers, partitions=3)
    created = await ensure_topics(settings, on_wait=print, timeout_s=30)
    assert {report.state for report in created} == {TopicState.CREATED}
    assert {report.spec: report.partitions for report in created} == {
        spec: 1 if spec is DEAD_LETTERS else 3 for spec in TOPICS
    }
    again = await ensure_topics(settings, on_wait=print, timeout_s=30)
    assert {report.state for report in again} == {TopicState.EXISTS}
    assert [report.differences for report in again] == [()] * len(TOPICS)

    with pytest.raises(RemediableError, match=r"has 3 partitions, not 8.*PORTFOLIO_PARTITIONS=3"):
        await ensure_topics(Settings(kafka_brokers=own_brokers), on_wait=print, timeout_s=30)


async def test_a_log_that_would_be_deleted_is_refused(own_brokers: str) -> None:
    """As Kafka makes a topic by itself when a producer was there first: kept for seven days."""
    spec = ACCOUNT_EVENTS._replace(name="made-by-kafka")
    admin = AIOKafkaAdminClient(bootstrap_servers=own_brokers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(spec.name, 8, 1, topic_configs={"retention.ms": "604800000"})])
    finally:
        await admin.close()
    settings = Settings(kafka_brokers=own_brokers)
    with pytest.raises(RemediableError, match=r"would not be kept.*retention.ms is 604800000, not -1"):
        await ensure_topics(settings, on_wait=print, timeout_s=30, specs=[spec])
    with_other_size = TopicSpec("made-by-kafka", "", "", retention_ms=604800000, max_message_bytes=17)
    (report,) = await ensure_topics(settings, on_wait=print, timeout_s=30, specs=[with_other_size])
    assert report.differences == ("max.message.bytes is 16777216, not 17",)


def test_the_command_says_what_it_waits_for_and_gives_up(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "topics", "--wait", "1"],
        env={**os.environ, "KAFKA_BROKERS": address},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    waiting, failed = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert waiting.startswith(f"waiting for Kafka at {address}")
    assert failed.startswith(f"portfolio: Kafka at {address} does not answer")
    assert "KAFKA_BROKERS" in failed
