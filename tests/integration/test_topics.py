"""Topics on a real broker: created once, reported, and refused where they would break the books."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from infra.embedded.checks import free_port
from infra.errors import RemediableError
from infra.settings import Settings
from streams.creation import TopicState, ensure_topics
from streams.topics import ACCOUNT_EVENTS, JOURNAL, TOPICS, Partitions, TopicSpec
from tests.support.gateway import eventually

pytestmark = pytest.mark.integration


async def test_topics_are_created_once_and_then_reported(own_brokers: str) -> None:
    settings = Settings(kafka_brokers=own_brokers, partitions=3)
    created = await ensure_topics(settings, on_wait=print, timeout_s=30)
    assert {report.state for report in created} == {TopicState.CREATED}
    assert {report.spec: report.partitions for report in created} == {
        spec: 1 if spec.partitions is Partitions.ONE else 3 for spec in TOPICS
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


async def test_an_update_applies_the_retention_and_leaves_what_an_operator_has_set(own_brokers: str) -> None:
    spec = JOURNAL._replace(name="portfolio.journal-of-a-test")
    long_ago = Settings(kafka_brokers=own_brokers)
    await ensure_topics(long_ago, on_wait=print, timeout_s=30, specs=[spec])
    await _alter(own_brokers, spec.name, {**spec.configuration, "segment.bytes": "1048576", "max.message.bytes": "17"})

    (report,) = await ensure_topics(long_ago, on_wait=print, timeout_s=30, specs=[spec], update=True)
    assert (report.state, report.differences) == (TopicState.UPDATED, ())

    assert (await _configuration(own_brokers, spec.name))["segment.bytes"] == "1048576"
    (report,) = await ensure_topics(long_ago, on_wait=print, timeout_s=30, specs=[spec], update=True)
    assert report.state is TopicState.EXISTS


async def test_the_command_changes_the_retention_of_topics_that_exist(own_brokers: str) -> None:
    environment = {**os.environ, "KAFKA_BROKERS": own_brokers, "PORTFOLIO_PARTITIONS": "3"}
    await ensure_topics(Settings(kafka_brokers=own_brokers, partitions=3), on_wait=print, timeout_s=30)

    def topics(*words: str, days: str = "journal=30") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.main", "topics", *words],
            env={**environment, "PORTFOLIO_RETENTION_DAYS": days, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )

    assert "exists (retention.ms is 604800000, not 2592000000)" in topics().stdout
    assert "updated" in topics("--update").stdout
    assert (await _configuration(own_brokers, JOURNAL.name))["retention.ms"] == "2592000000"
    refused = topics("--update", days="account-events=1")
    assert refused.returncode == 1
    assert "cannot be set for account-events" in refused.stderr
    assert "updated" in topics("--update", days="").stdout


async def test_more_replicas_than_brokers_are_refused(own_brokers: str) -> None:
    settings = Settings(kafka_brokers=own_brokers, partitions=3, replication_factor=2)
    with pytest.raises(RemediableError, match=r"is 2, but .* is a cluster of 1"):
        await ensure_topics(settings, on_wait=print, timeout_s=30)


async def _alter(brokers: str, topic: str, entries: dict[str, str]) -> None:
    """Alter a configuration, and wait until the broker goes by it."""
    async with _admin(brokers) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, entries)])

    async def is_in_force() -> bool:
        return (await _configuration(brokers, topic)).items() >= entries.items()

    await eventually(is_in_force)


async def _configuration(brokers: str, topic: str) -> dict[str, str]:
    async with _admin(brokers) as admin:
        (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for entry in response.resources[0][4]}


@asynccontextmanager
async def _admin(brokers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


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
