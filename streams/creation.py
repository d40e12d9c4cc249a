"""Creating the topics, and checking those that exist."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from infra.backoff import backoff_s
from infra.errors import RemediableError
from infra.settings import Settings
from streams.connection import client_options
from streams.topics import TOPICS, Partitions, TopicSpec

_REPLICAS_MAX = 3
_BACKOFF_MAX_S = 5.0
_APPEARS_TIMEOUT_S = 15.0
_COMPARED = ("cleanup.policy", "retention.ms", "max.message.bytes")

OnWait = Callable[[str], None]
"""Called with a line on what is being waited for."""


class TopicState(Enum):
    """What was found, or done."""

    CREATED = "created"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class TopicReport:
    """A topic as it is on the brokers now."""

    spec: TopicSpec
    state: TopicState
    partitions: int
    differences: tuple[str, ...]
    """Configuration that differs from what the service would have chosen."""


async def ensure_topics(
    settings: Settings,
    *,
    on_wait: OnWait,
    timeout_s: float | None = None,
    specs: Iterable[TopicSpec] = TOPICS,
) -> list[TopicReport]:
    """Create what is missing and report what is there. Harmless when repeated.

    Args:
        settings: Addresses of the brokers, and the number of partitions.
        on_wait: Told when the brokers do not answer yet.
        timeout_s: How long to wait for the brokers; None is for ever.
        specs: The topics.

    Raises:
        RemediableError: The brokers do not answer in time or refuse; a topic has another number of partitions than
            the setting says; the log of record would be deleted or compacted.
    """
    wanted = list(specs)
    async with _admin(settings, on_wait, timeout_s) as admin:
        found = await _partitions_of(admin)
        missing = [spec for spec in wanted if spec.name not in found]
        if missing:
            await _create(admin, missing, settings)
            found = await _wait_until_there(admin, wanted)
        configurations = await _configurations(admin, wanted)
    for spec in wanted:
        _require_partitions(spec, found[spec.name], settings)
    reports = [
        TopicReport(
            spec=spec,
            state=TopicState.CREATED if spec in missing else TopicState.EXISTS,
            partitions=found[spec.name],
            differences=_differences(spec, configurations.get(spec.name, {})),
        )
        for spec in wanted
    ]
    _require_whole_log(reports)
    return reports


@asynccontextmanager
async def _admin(settings: Settings, on_wait: OnWait, timeout_s: float | None) -> AsyncIterator[AIOKafkaAdminClient]:
    started = time.monotonic()
    attempt = 0
    told = ""
    while True:
        admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=20_000)
        try:
            await admin.start()
            break
        except (KafkaError, OSError) as error:
            await admin.close()
            if timeout_s is not None and time.monotonic() - started > timeout_s:
                raise RemediableError(
                    f"Kafka at {settings.brokers} does not answer ({error})",
                    "Start it, or set KAFKA_BROKERS (and KAFKA_SECURITY_PROTOCOL) to brokers that run",
                ) from error
            line = f"waiting for Kafka at {settings.brokers} ({error})"
            if line != told:
                on_wait(line)
                told = line
            await asyncio.sleep(backoff_s(attempt, first_s=0.25, longest_s=_BACKOFF_MAX_S))
            attempt += 1
    try:
        yield admin
    finally:
        await admin.close()


async def _partitions_of(admin: AIOKafkaAdminClient) -> dict[str, int]:
    topics = await admin.describe_topics()
    return {topic["topic"]: len(topic["partitions"]) for topic in topics if not topic["error_code"]}


async def _create(admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec], settings: Settings) -> None:
    brokers = len((await admin.describe_cluster())["brokers"])
    replicas = min(_REPLICAS_MAX, brokers)
    new = [
        NewTopic(
            name=spec.name,
            num_partitions=_partitions(spec, settings),
            replication_factor=replicas,
            topic_configs=spec.configuration | ({"min.insync.replicas": "2"} if replicas == _REPLICAS_MAX else {}),
        )
        for spec in specs
    ]
    response = await admin.create_topics(new)
    for name, code, *message in response.topic_errors:
        # Another worker may have been faster.
        if code not in {0, TopicAlreadyExistsError.errno}:
            reason = message[0] if message and message[0] else for_code(code).__name__
            raise RemediableError(
                f"Kafka refuses to create the topic {name} ({reason})",
                "Give the user the right to create topics, or create it as docs/topics.md says",
            )


async def _wait_until_there(admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec]) -> dict[str, int]:
    """The controller answers before every broker knows the topics."""
    names = {spec.name for spec in specs}
    deadline = time.monotonic() + _APPEARS_TIMEOUT_S
    while True:
        found = await _partitions_of(admin)
        if names <= found.keys():
            return found
        if time.monotonic() > deadline:
            lacking = ", ".join(sorted(names - found.keys()))
            raise RemediableError(f"Kafka has created topics that it does not show: {lacking}", "Try again")
        await asyncio.sleep(0.1)


async def _configurations(admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, spec.name) for spec in specs]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, _, _, name, entries in response.resources:
            if code == 0:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _partitions(spec: TopicSpec, settings: Settings) -> int:
    return settings.partitions if spec.partitions is Partitions.PER_BOOK else 1


def _require_partitions(spec: TopicSpec, found: int, settings: Settings) -> None:
    wanted = _partitions(spec, settings)
    if found != wanted:
        raise RemediableError(
            f"the topic {spec.name} has {found} partitions, not {wanted}",
            f"Set PORTFOLIO_PARTITIONS={found}: the number is fixed by the first start, since it decides where an "
            "account's books are"
            if spec.partitions is Partitions.PER_BOOK
            else "Delete the topic and run `portfolio topics` again",
        )


def _differences(spec: TopicSpec, found: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = spec.configuration
    return tuple(
        f"{name} is {found[name]}, not {wanted[name]}"
        for name in _COMPARED
        if name in found and set(found[name].split(",")) != set(wanted[name].split(","))
    )


def _require_whole_log(reports: Iterable[TopicReport]) -> None:
    """A log that is deleted or compacted cannot rebuild the books, and its gaps would stop the fence."""
    for report in reports:
        harmful = [line for line in report.differences if line.startswith(("cleanup.policy", "retention.ms"))]
        if report.spec.is_log and harmful:
            raise RemediableError(
                f"the log of record would not be kept: on {report.spec.name}, {'; '.join(harmful)}",
                f"kafka-configs.sh --alter --topic {report.spec.name} --add-config "
                "cleanup.policy=delete,retention.ms=-1",
            )
