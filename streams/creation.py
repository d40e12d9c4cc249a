"""Creating the topics, and checking those that exist."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from infra.backoff import backoff_s
from infra.errors import RemediableError
from infra.settings import Settings
from streams.connection import client_options
from streams.topics import TOPICS, Partitions, TopicSpec, with_retention

_REPLICAS_MAX = 3
_BACKOFF_MAX_S = 2.0
_APPEARS_TIMEOUT_S = 15.0
_IN_SYNC = {"min.insync.replicas": "2"}
_COMPARED = ("cleanup.policy", "retention.ms", "max.message.bytes", "min.compaction.lag.ms")
_SET_ON_TOPIC = 1
"""Kafka's number for an entry that was set on the topic itself, rather than inherited."""

OnWait = Callable[[str], None]
"""Called with a line on what is being waited for."""


class TopicState(Enum):
    """What was found, or done."""

    CREATED = "created"
    EXISTS = "exists"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True)
class TopicReport:
    """A topic as it is on the brokers now."""

    spec: TopicSpec
    state: TopicState
    partitions: int
    replicas: int
    differences: tuple[str, ...]
    """Configuration that differs from what the service would have chosen."""


class _Found(NamedTuple):
    """A topic on the brokers."""

    partitions: int
    replicas: int


class _Entry(NamedTuple):
    """One entry of a topic's configuration."""

    value: str
    is_own: bool
    """Whether it was set on the topic itself."""


async def ensure_topics(
    settings: Settings,
    *,
    on_wait: OnWait,
    timeout_s: float | None = None,
    specs: Iterable[TopicSpec] = TOPICS,
    update: bool = False,
) -> list[TopicReport]:
    """Create what is missing and report what is there. Harmless when repeated.

    Args:
        settings: Addresses of the brokers, the number of partitions and replicas, and how long topics are kept.
        on_wait: Told when the brokers do not answer yet.
        timeout_s: How long to wait for the brokers; None is for ever.
        specs: The topics.
        update: Whether to give topics that exist the configuration that is wanted now.

    Raises:
        RemediableError: The brokers do not answer in time or refuse; a topic has another number of partitions than
            the setting says; the log of record would be deleted or compacted.
    """
    wanted = [with_retention(spec, settings.retention_days) for spec in specs]
    states = dict.fromkeys(wanted, TopicState.EXISTS)
    async with _admin(settings, on_wait, timeout_s) as admin:
        replicas = await _replicas(admin, settings)
        found = await _find(admin)
        missing = [spec for spec in wanted if spec.name not in found]
        if missing:
            await _create(admin, missing, settings, replicas)
            found = await _wait_until_there(admin, wanted)
        configurations = await _configurations(admin, wanted)
        if update:
            outdated = [spec for spec in wanted if _differences(spec, configurations.get(spec.name, {}))]
            await _update(admin, outdated, configurations)
            configurations = await _configurations_in_force(admin, wanted)
            states |= dict.fromkeys(outdated, TopicState.UPDATED)
    states |= dict.fromkeys(missing, TopicState.CREATED)
    for spec in wanted:
        _require_partitions(spec, found[spec.name].partitions, settings)
    reports = [
        TopicReport(
            spec=spec,
            state=states[spec],
            partitions=found[spec.name].partitions,
            replicas=found[spec.name].replicas,
            differences=_differences(spec, configurations.get(spec.name, {}))
            + _fewer_replicas(found[spec.name].replicas, settings),
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


async def _find(admin: AIOKafkaAdminClient) -> dict[str, _Found]:
    topics = await admin.describe_topics()
    return {
        topic["topic"]: _Found(
            len(topic["partitions"]), min((len(one["replicas"]) for one in topic["partitions"]), default=0)
        )
        for topic in topics
        if not topic["error_code"]
    }


async def _replicas(admin: AIOKafkaAdminClient, settings: Settings) -> int:
    brokers = len((await admin.describe_cluster())["brokers"])
    wanted = settings.replication_factor
    if wanted is not None and wanted > brokers:
        raise RemediableError(
            f"PORTFOLIO_REPLICATION_FACTOR is {wanted}, but {settings.brokers} is a cluster of {brokers}",
            "Start the other brokers, or set a smaller number",
        )
    return min(_REPLICAS_MAX, brokers) if wanted is None else wanted


async def _create(admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec], settings: Settings, replicas: int) -> None:
    new = [
        NewTopic(
            name=spec.name,
            num_partitions=_partitions(spec, settings),
            replication_factor=replicas,
            topic_configs=spec.configuration | (_IN_SYNC if replicas >= _REPLICAS_MAX else {}),
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


async def _wait_until_there(admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec]) -> dict[str, _Found]:
    """The controller answers before every broker knows the topics."""
    names = {spec.name for spec in specs}
    deadline = time.monotonic() + _APPEARS_TIMEOUT_S
    while True:
        found = await _find(admin)
        if names <= found.keys():
            return found
        if time.monotonic() > deadline:
            lacking = ", ".join(sorted(names - found.keys()))
            raise RemediableError(f"Kafka has created topics that it does not show: {lacking}", "Try again")
        await asyncio.sleep(0.1)


async def _configurations(admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec]) -> dict[str, dict[str, _Entry]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, spec.name) for spec in specs]
    found: dict[str, dict[str, _Entry]] = {}
    for response in await admin.describe_configs(resources):
        for code, _, _, name, entries in response.resources:
            if code == 0:
                found[name] = {entry[0]: _Entry(entry[1], entry[3] == _SET_ON_TOPIC) for entry in entries}
    return found


async def _configurations_in_force(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]
) -> dict[str, dict[str, _Entry]]:
    """The controller answers before every broker goes by a change; what is not taken goes on to be shown."""
    deadline = time.monotonic() + _APPEARS_TIMEOUT_S
    while True:
        found = await _configurations(admin, specs)
        if time.monotonic() > deadline or not any(_differences(spec, found.get(spec.name, {})) for spec in specs):
            return found
        await asyncio.sleep(0.1)


async def _update(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], found: Mapping[str, Mapping[str, _Entry]]
) -> None:
    """Give topics the configuration that is wanted; what an operator has set besides is left as it is."""
    # The request replaces the whole configuration of a topic.
    resources = [
        ConfigResource(
            ConfigResourceType.TOPIC,
            spec.name,
            {name: entry.value for name, entry in found[spec.name].items() if entry.is_own} | spec.configuration,
        )
        for spec in specs
    ]
    if not resources:
        return
    for response in await admin.alter_configs(resources):
        for code, message, _, name in response.resources:
            if code:
                raise RemediableError(
                    f"Kafka refuses to change the topic {name} ({message or for_code(code).__name__})",
                    "Give the user the right to alter topics, or change it as docs/topics.md says",
                )


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


def _differences(spec: TopicSpec, found: Mapping[str, _Entry]) -> tuple[str, ...]:
    wanted = spec.configuration
    return tuple(
        f"{name} is {found[name].value}, not {wanted[name]}"
        for name in _COMPARED
        if name in found and name in wanted and set(found[name].value.split(",")) != set(wanted[name].split(","))
    )


def _fewer_replicas(found: int, settings: Settings) -> tuple[str, ...]:
    """Only what was asked for is missed: a broker may have been added since."""
    wanted = settings.replication_factor
    return () if wanted is None or found >= wanted else (f"it has {found} replica(s), not {wanted}",)


def _require_whole_log(reports: Iterable[TopicReport]) -> None:
    """A log that is deleted or compacted cannot rebuild the books, and its gaps would stop the fence."""
    for report in reports:
        harmful = [line for line in report.differences if line.startswith(("cleanup.policy", "retention.ms"))]
        if report.spec.is_log and harmful:
            raise RemediableError(
                f"the log of record would not be kept: on {report.spec.name}, {'; '.join(harmful)}",
                "Run `portfolio topics --update`",
            )
