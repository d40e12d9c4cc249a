"""What the service keeps of itself, over the API."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import redis.asyncio

from infra.postgres.alerts import write_alerts
from infra.postgres.audit import append, encode_entry, new_entry
from infra.postgres.letters import LetterLine, write_letters
from infra.postgres.migrate import migrate
from portfolio.alerts.engine import Alert, AlertStatus
from portfolio.alerts.rules import Severity
from portfolio.audit import AuditKind
from tests.integration.test_api import Client, serving, store
from tests.support.journal import START_US, sample_account

pytestmark = pytest.mark.integration


@pytest.fixture
async def url(database_url: str) -> str:
    await migrate(database_url)
    return database_url


@pytest.fixture
async def client(url: str, redis_url: str) -> AsyncIterator[Client]:
    async with serving(url, redis_url) as client:
        yield client


@pytest.fixture
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def walk(client: Client, path: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    following: str | None = path
    while following is not None:
        answer = await client.get(following)
        assert answer.status_code == 200, answer.text
        rows += answer.json()
        following = answer.links["next"]["url"] if "next" in answer.links else None
    return rows


def letter(number: int, topic: str = "portfolio.account-events") -> LetterLine:
    return LetterLine(
        letter_partition=0,
        letter_offset=number,
        topic=topic,
        partition=3,
        log_offset=100 + number,
        time_us=START_US + number // 2,
        key="ma\0in",
        bytes=12,
        reason="no JSON",
    )


async def test_dead_letters_page_by_page(client: Client, connection: asyncpg.Connection) -> None:
    await write_letters(connection, [*(letter(number) for number in range(5)), letter(5, "portfolio.marks")] * 2)
    whole = await walk(client, "/admin/dead-letters?limit=1000")
    assert [row["id"].rpartition(":")[2] for row in whole] == ["5", "4", "3", "2", "1", "0"]
    assert whole[1]["source"] == "portfolio.account-events:3:104"
    assert whole[0]["key"] == "ma\N{REPLACEMENT CHARACTER}in"
    for limit in (1, 2, 6):
        assert await walk(client, f"/admin/dead-letters?limit={limit}") == whole
    assert len(await walk(client, "/admin/dead-letters?topic=portfolio.marks")) == 1


def alert(number: int, account: str, status: AlertStatus) -> Alert:
    return Alert(
        id=f"a{number}",
        rule="loss",
        kind="loss",
        severity=Severity.WARNING,
        account=account,
        subject="",
        status=status,
        text="lost 5 %",
        raised_time_us=START_US + number,
        changed_time_us=START_US + number,
    )


async def test_alerts_by_status_and_account(client: Client, connection: asyncpg.Connection) -> None:
    statuses = [AlertStatus.RAISED, AlertStatus.CLEARED] * 2
    await write_alerts(connection, [alert(n, "main" if n < 3 else "second", each) for n, each in enumerate(statuses)])
    assert [row["id"] for row in await walk(client, "/admin/alerts?limit=1")] == ["a3", "a2", "a1", "a0"]
    assert [row["id"] for row in await walk(client, "/admin/alerts?status=raised")] == ["a2", "a0"]
    assert [row["id"] for row in await walk(client, "/admin/alerts?account=second")] == ["a3"]


async def test_the_audit_trail_newest_first(client: Client, connection: asyncpg.Connection) -> None:
    kinds = [AuditKind.KEY, AuditKind.LOGIN, AuditKind.CORRECTION]
    entries = [new_entry(kind, "done", actor="ada", account="main", details={"why": "it was so"}) for kind in kinds]
    await append(connection, list(enumerate(encode_entry(entry) for entry in entries)))
    told = await walk(client, "/admin/audit?limit=2")
    assert [(row["offset"], row["kind"]) for row in told] == [(2, "correction"), (1, "login"), (0, "key")]
    assert told[0]["details"] == {"why": "it was so"}
    assert len(told[0]["hash"]) == 64
    assert [row["kind"] for row in await walk(client, "/admin/audit?kind=login")] == ["login"]


async def test_settings_are_told_without_their_secrets(client: Client) -> None:
    told = {row["variable"]: row["value"] for row in (await client.get("/admin/config")).json()}
    assert told["PORTFOLIO_PORT"] == "8000"
    assert told["DATABASE_URL"].startswith("postgresql://")


async def test_how_an_account_keeps_up(client: Client, url: str, redis_url: str) -> None:
    assert [(row["account"], row["state"]) for row in (await client.get("/admin/sync")).json()] == [("main", None)]
    await store(url, sample_account()[1])
    async with redis.asyncio.from_url(redis_url) as store_:
        fields: dict[Any, Any] = {
            "state": "live",
            "backfill_percent": "12.5",
            "weight_used": "40",
            "last_sync_time_us": str(START_US),
        }
        await store_.hset("portfolio:gateway:main", mapping=fields)
        (told,) = (await client.get("/admin/sync")).json()
        await store_.delete("portfolio:gateway:main")
    assert (told["state"], told["backfill_percent"], told["weight_used"]) == ("live", 12.5, 40)
    assert told["last_sync"] == "2026-01-01T00:00:00.000000Z"
    assert told["agrees"] is False, "the sample differs by half a dollar"


@pytest.mark.parametrize("path", ["audit", "alerts", "dead-letters"])
async def test_nothing_yet_is_an_empty_list(client: Client, path: str) -> None:
    assert (await client.get(f"/admin/{path}")).json() == []
    assert (await client.get(f"/admin/{path}?cursor=x")).status_code == 422
