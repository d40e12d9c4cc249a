"""The audit trail on a real Kafka and a real Postgres: both ways in, the chain, and every kind of tampering."""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from pydantic import SecretStr

from infra.postgres import audit
from infra.postgres.audit import Place, decode_entry, encode_entry, new_entry
from infra.postgres.audit_reader import AuditLine, newest_entries
from infra.postgres.configuration import described_settings, note_configuration
from infra.postgres.connection import connected
from infra.postgres.migrate import migrate
from infra.redis.access import ANNOUNCED, AccessNotes
from infra.settings import Settings
from portfolio.alerts.engine import Silence
from portfolio.audit import GENESIS, AuditEntry, AuditKind, chained_hash
from portfolio.events import CostAdjustment, CostTarget
from portfolio.money import amount
from streams.alerts.desk import publish_silence
from streams.audit import carry_announced, carry_outbox, carry_told, keep_chain
from streams.audit_verification import Fault, Verification, verify
from streams.creation import ensure_topics
from streams.gateway.log import open_producer
from streams.topics import ACCOUNT_EVENTS, ALERTS, AUDIT, TOPICS
from tests.support.gateway import eventually
from tests.support.running import running
from tests.support.worker import TIME_US, Worker, fill, produce, read_all, record

pytestmark = pytest.mark.integration

Tamper = Callable[["Trail"], Awaitable[None]]


class Trail:
    """A topic and a database with the same entries, and somebody who has his hands in both."""

    def __init__(self, settings: Settings, records: list[bytes]) -> None:
        self.settings = settings
        self.records = records

    async def execute(self, statement: str, *arguments: object) -> None:
        async with connected(self.settings.database_dsn) as connection:
            await connection.execute(statement, *arguments)

    async def rewrite_topic(self, records: Sequence[bytes]) -> None:
        await empty_topic(self.settings)
        async with open_producer(self.settings) as producer:
            for each in records:
                await producer.send_and_wait(AUDIT.name, each, partition=0)

    async def restore(self) -> None:
        async with connected(self.settings.database_dsn) as connection:
            await connection.execute("DELETE FROM audit_entries")
            await audit.append(connection, list(enumerate(self.records)))

    async def rewrite_both(self, records: Sequence[bytes]) -> None:
        await self.rewrite_topic(records)
        await self.execute("DELETE FROM audit_entries")
        await chain_now(self.settings, len(records))

    async def verify(self, anchor: Place | None = None) -> Verification:
        return await verify(self.settings, anchor, carry_wait_s=0)


async def _is_gone(admin: AIOKafkaAdminClient) -> bool:
    return AUDIT.name not in await admin.list_topics()


async def empty_topic(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.brokers)
    await admin.start()
    try:
        if AUDIT.name in await admin.list_topics():
            await admin.delete_topics([AUDIT.name])
            await eventually(lambda: _is_gone(admin))
    finally:
        await admin.close()
    await ensure_topics(settings, on_wait=print, specs=(AUDIT, ACCOUNT_EVENTS, ALERTS))


@pytest.fixture
async def settings(kafka_brokers: str, database_url: str) -> Settings:
    await migrate(database_url)
    settings = Settings(kafka_brokers=kafka_brokers, database_url=SecretStr(database_url))
    await empty_topic(settings)
    return settings


async def chain_now(settings: Settings, entries: int) -> None:
    async with running(keep_chain(settings)), connected(settings.database_dsn) as connection:
        await until_entries(connection, entries)


async def until_entries(connection: asyncpg.Connection, number: int) -> None:
    async def are_there() -> bool:
        return bool(await connection.fetchval("SELECT count(*) >= $1 FROM audit_entries", number))

    await eventually(are_there, interval_s=0.05)


@pytest.fixture
async def trail(settings: Settings) -> Trail:
    records = [
        encode_entry(
            AuditEntry(id=f"id-{number}", time_us=number, kind=AuditKind.KEY, action="created", actor=f"actor-{number}")
        )
        for number in range(6)
    ]
    trail = Trail(settings, records)
    async with open_producer(settings) as producer:
        for each in records:
            await producer.send_and_wait(AUDIT.name, each, partition=0)
    await chain_now(settings, 6)
    return trail


async def listed(settings: Settings, **filters: Any) -> Sequence[AuditLine]:
    async with connected(settings.database_dsn) as connection:
        return await newest_entries(connection, limit=100, **filters)


async def test_an_entry_is_there_exactly_if_its_deed_is(settings: Settings) -> None:
    done = new_entry(
        AuditKind.KEY, "created", actor="anna", subject="key-1", details={"nul": "a\0b", "text": "\\u0000"}
    )
    undone = new_entry(AuditKind.KEY, "created", actor="anna", subject="key-2")
    async with connected(settings.database_dsn) as connection:
        async with connection.transaction():
            await audit.record(connection, done)
        with contextlib.suppress(ZeroDivisionError):
            async with connection.transaction():
                await audit.record(connection, undone)
                raise ZeroDivisionError
        async with (
            open_producer(settings) as producer,
            running(carry_outbox(settings, producer), keep_chain(settings)),
        ):
            await until_entries(connection, 1)
            await eventually(lambda: connection.fetchval("SELECT count(*) = 0 FROM audit_outbox"))
        assert [line.entry for line in await listed(settings)] == [done]
    assert (await verify(settings)).findings == []


async def test_corrections_in_the_log_tell_of_themselves(settings: Settings) -> None:
    adjustment = CostAdjustment(
        time_us=TIME_US, id="a-1", asset="BTC", amount=amount("-12.5"), target=CostTarget.HOLDING, author="anna",
        reason="bought over the counter",
    )  # fmt: skip
    account = "audit-corrections"
    await produce(settings.brokers, [(account, record(account, fill(1))), (account, record(account, adjustment))])
    [mine] = [one for one in await read_all(settings.brokers, ACCOUNT_EVENTS.name) if b"a-1" in one.value]

    async def is_in_trail() -> bool:
        return bool(await listed(settings, accounts=[account]))

    async with connected(settings.database_dsn) as connection, open_producer(settings) as producer:
        async with running(carry_told(settings, producer), keep_chain(settings)):
            await eventually(is_in_trail)
        [line] = await listed(settings, accounts=[account])
        assert (line.entry.kind, line.entry.action) == (AuditKind.CORRECTION, "cost_adjustment")
        assert (line.entry.actor, line.entry.subject) == ("anna", "BTC")
        assert line.entry.details["amount"] == "-12.5"
        assert line.entry.details["log"] == f"{mine.topic}:{mine.partition}:{mine.offset}"
        assert (await verify(settings)).findings == []
        # Another record stands in the log where the correction was.
        elsewhere = line.entry.details | {"log": f"{mine.topic}:{mine.partition}:{mine.offset + 1_000_000}"}
        gone = encode_entry(AuditEntry(**_fields(line.entry) | {"id": "gone", "details": elsewhere}))
        other = line.entry.details | {"record_sha256": "0" * 64}
        changed = encode_entry(AuditEntry(**_fields(line.entry) | {"id": "changed", "details": other}))
        before = await connection.fetchval("SELECT count(*) FROM audit_entries")
        for each in (gone, changed):
            await producer.send_and_wait(AUDIT.name, each, partition=0)
        await chain_now(settings, before + 2)
    findings = (await verify(settings)).findings
    assert [finding.fault for finding in findings] == [Fault.REMOVED, Fault.CHANGED]


def _fields(entry: AuditEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


async def test_what_is_published_again_after_a_crash_counts_once(trail: Trail) -> None:
    async with open_producer(trail.settings) as producer:
        await producer.send_and_wait(AUDIT.name, trail.records[2], partition=0)
        await producer.send_and_wait(AUDIT.name, b"\xff no entry", partition=0)
        await producer.send_and_wait(AUDIT.name, None, key=b"tombstone", partition=0)
    await chain_now(trail.settings, 9)
    lines = await listed(trail.settings)
    assert [line.offset for line in lines] == [5, 4, 3, 2, 1, 0]
    found = await trail.verify()
    assert found.findings == []
    assert found.entries == 9


def swapped(records: list[bytes], one: int, other: int) -> list[bytes]:
    moved = list(records)
    moved[one], moved[other] = moved[other], moved[one]
    return moved


async def swap_in_postgres(trail: Trail) -> None:
    columns = ("id", "time_us", "kind", "action", "actor", "account", "subject", "details", "record")
    moves = ", ".join(f"{column} = other.{column}" for column in columns)
    await trail.execute(
        f"UPDATE audit_entries AS one SET {moves} FROM audit_entries AS other "
        "WHERE one.log_offset IN (2, 4) AND other.log_offset = 6 - one.log_offset"
    )


FORGED = encode_entry(AuditEntry(id="id-3", time_us=3, kind=AuditKind.KEY, action="created", actor="nobody"))

IN_POSTGRES: dict[str, tuple[Tamper, list[tuple[int, Fault]]]] = {
    "a column is changed": (
        lambda trail: trail.execute("UPDATE audit_entries SET actor = 'nobody' WHERE log_offset = 3"),
        [(3, Fault.CHANGED)],
    ),
    "columns and record are changed": (
        lambda trail: trail.execute(
            "UPDATE audit_entries SET actor = 'nobody', record = $1 WHERE log_offset = 3", FORGED
        ),
        [(3, Fault.CHANGED)],
    ),
    "a hash is changed": (
        lambda trail: trail.execute("UPDATE audit_entries SET hash = sha256(hash) WHERE log_offset = 3"),
        # The one that it is chained to does not fit either.
        [(3, Fault.HASH), (4, Fault.HASH)],
    ),
    "details are no map": (
        lambda trail: trail.execute("UPDATE audit_entries SET details = '[1]' WHERE log_offset = 3"),
        [(3, Fault.CHANGED)],
    ),
    "one is removed": (
        lambda trail: trail.execute("DELETE FROM audit_entries WHERE log_offset = 3"),
        [(3, Fault.NOT_CARRIED)],
    ),
    "the first are removed": (
        lambda trail: trail.execute("DELETE FROM audit_entries WHERE log_offset < 2"),
        [(0, Fault.NOT_CARRIED), (1, Fault.NOT_CARRIED)],
    ),
    "two are exchanged": (swap_in_postgres, [(2, Fault.MOVED), (4, Fault.MOVED)]),
}


async def test_tampering_in_postgres_is_found(trail: Trail) -> None:
    for name, (tamper, expected) in IN_POSTGRES.items():
        assert (await trail.verify()).findings == []
        await tamper(trail)
        found = await trail.verify()
        assert [(finding.offset, finding.fault) for finding in found.findings] == expected, (name, found.findings)
        assert {finding.where for finding in found.findings} == {"Postgres"}, name
        await trail.restore()


async def test_a_tail_removed_in_postgres_is_found_and_comes_back(trail: Trail) -> None:
    before = (await trail.verify()).head
    await trail.execute("DELETE FROM audit_entries WHERE log_offset >= 4")
    assert [finding.offset for finding in (await trail.verify()).findings] == [4, 5]
    await chain_now(trail.settings, 6)
    found = await trail.verify()
    assert (found.findings, found.head) == ([], before)


async def delete_first(trail: Trail) -> None:
    await trail.rewrite_topic(trail.records)
    admin = AIOKafkaAdminClient(bootstrap_servers=trail.settings.brokers)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(AUDIT.name, 0): RecordsToDelete(before_offset=2)})
    finally:
        await admin.close()


ON_TOPIC: dict[str, tuple[Tamper, list[tuple[int, Fault]]]] = {
    "one is changed": (
        lambda trail: trail.rewrite_topic([*trail.records[:3], FORGED, *trail.records[4:]]),
        [(3, Fault.CHANGED)],
    ),
    "two are exchanged": (
        lambda trail: trail.rewrite_topic(swapped(trail.records, 2, 4)),
        [(2, Fault.MOVED), (4, Fault.MOVED)],
    ),
    "the tail is removed": (
        lambda trail: trail.rewrite_topic(trail.records[:4]),
        [(4, Fault.REMOVED), (5, Fault.REMOVED)],
    ),
    "one is removed": (
        lambda trail: trail.rewrite_topic([*trail.records[:3], *trail.records[4:]]),
        [(3, Fault.MOVED), (4, Fault.MOVED), (5, Fault.REMOVED)],
    ),
    "the head is removed": (delete_first, [(0, Fault.REMOVED), (1, Fault.REMOVED)]),
}


async def test_tampering_on_the_topic_is_found(trail: Trail) -> None:
    for name, (tamper, expected) in ON_TOPIC.items():
        await tamper(trail)
        found = await trail.verify()
        assert [(finding.offset, finding.fault) for finding in found.findings] == expected, (name, found.findings)
        assert {finding.where for finding in found.findings} == {"topic"}, name


async def test_what_was_changed_in_both_shows_by_an_anchor(trail: Trail) -> None:
    anchor = (await trail.verify()).head
    assert anchor == Place(5, _chained(trail.records))
    await trail.rewrite_both([*trail.records[:3], FORGED, *trail.records[4:]])
    assert (await trail.verify()).findings == []
    assert [(one.offset, one.fault) for one in (await trail.verify(anchor)).findings] == [(5, Fault.HASH)]
    await trail.rewrite_both(trail.records[:4])
    assert [(one.offset, one.fault) for one in (await trail.verify(anchor)).findings] == [(4, Fault.REMOVED)]


def _chained(records: Sequence[bytes]) -> bytes:
    last = GENESIS
    for offset, each in enumerate(records):
        last = chained_hash(last, offset, each)
    return last


async def test_a_change_of_the_configuration_is_noted_once_and_without_secrets(settings: Settings) -> None:
    before = described_settings(settings)
    dsn = settings.database_dsn
    assert dsn not in json.dumps(before)
    assert before["database_url"] == "(set)"
    assert (await note_configuration(dsn, "worker", before)) == before
    assert (await note_configuration(dsn, "worker", before)) == {}
    after = before | {"pnl_interval_s": "9.0"}
    changes = await asyncio.gather(*(note_configuration(dsn, "worker", after) for _ in range(4)))
    assert [change for change in changes if change] == [{"pnl_interval_s": "1.0 -> 9.0"}]
    async with connected(dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM audit_outbox") == 2


async def test_what_the_api_was_started_with_reaches_the_trail_when_it_changes(
    settings: Settings, redis_url: str
) -> None:
    """It may write nothing into the database: a worker finds its settings in Redis."""
    settings = settings.model_copy(update={"redis_url": SecretStr(redis_url)})
    notes = AccessNotes(redis_url)
    before = described_settings(settings)
    for told in (before, before, before | {"api_rate_per_minute": "7"}):
        await notes.announce_settings("api", told)
    await notes.close()
    async with redis.asyncio.from_url(redis_url) as client:
        await client.xadd(ANNOUNCED, {"part": "api", "settings": "no json"})

    async def outbox() -> list[AuditEntry | None]:
        async with connected(settings.database_dsn) as connection:
            rows = await connection.fetch("SELECT record FROM audit_outbox ORDER BY number")
        return [decode_entry(row["record"]) for row in rows]

    async def both_are_there() -> bool:
        return len(await outbox()) == 2

    async with open_producer(settings) as producer, running(carry_announced(settings, producer)):
        await eventually(both_are_there)
    first, second = await outbox()
    assert first is not None
    assert second is not None
    assert (first.action, first.actor, first.details) == ("first seen", "api", before)
    changed = f"{before['api_rate_per_minute']} -> 7"
    assert (second.action, second.details) == ("changed", {"api_rate_per_minute": changed})


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_worker_brings_every_kind_of_entry_into_the_trail(settings: Settings, tmp_path: Path) -> None:
    account, name = "audit-worker", f"key-{secrets.token_hex(4)}"
    adjustment = CostAdjustment(
        time_us=TIME_US, id="w-1", asset="BTC", amount=amount("1"), target=CostTarget.HOLDING, author="anna",
        reason="so",
    )  # fmt: skip
    silence = Silence(id=f"all:{name}", account=name, until_us=0, by="berta", time_us=TIME_US)
    await ensure_topics(settings, on_wait=print, specs=TOPICS)
    await produce(settings.brokers, [(account, record(account, fill(1))), (account, record(account, adjustment))])
    await publish_silence(settings, silence)
    for kind in (AuditKind.KEY, AuditKind.LOGIN, AuditKind.OPERATION):
        await audit.record_alone(settings.database_dsn, new_entry(kind, "done", actor="anna", subject=name))
    worker = Worker(settings.brokers, tmp_path / "worker", {"DATABASE_URL": settings.database_dsn}).start()
    try:

        async def every_kind_is_there() -> bool:
            found = [line.entry for line in await listed(settings)]
            mine = {each.kind for each in found if name in {each.subject, each.account} or each.account == account}
            mine |= {each.kind for each in found if each.actor == "worker"}
            return mine == set(AuditKind)

        await eventually(every_kind_is_there, timeout_s=200, what=worker.log)
        assert (await verify(settings)).findings == []
        worker.stop()
    finally:
        worker.kill()


@pytest.fixture
def portfolio(settings: Settings) -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"KAFKA_BROKERS": settings.brokers, "DATABASE_URL": settings.database_dsn}
        command = [sys.executable, "-m", "cli.main", "audit", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    return call


async def test_the_command_line(trail: Trail, portfolio: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    told = await asyncio.to_thread(portfolio, "verify")
    assert told.returncode == 0, told.stderr
    assert told.stdout == f"6 entries, unbroken; head 5:{_chained(trail.records).hex()}\n"
    await trail.execute("UPDATE audit_entries SET actor = 'nobody' WHERE log_offset = 3")
    told = await asyncio.to_thread(portfolio, "verify", "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["findings"][0]["offset"] == 3
    told = await asyncio.to_thread(portfolio, "verify", "--anchor", "five")
    assert "is no place of the trail" in told.stderr
