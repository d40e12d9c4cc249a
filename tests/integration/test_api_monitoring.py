"""`GET /metrics` and request ids, against a real Redis and a real Postgres."""

import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import redis.asyncio

from api.app import create_app
from infra.access_keys import SCOPES
from infra.postgres.access_keys import KeyStore
from infra.postgres.migrate import migrate
from infra.settings import Settings
from infra.telemetry.logs import JsonFormatter
from infra.telemetry.sharing import INDEX, KEPT_S, MetricsStore, ProcessName, this_process
from tests.support.gateway import eventually
from tests.support.monitoring import Scrape

pytestmark = pytest.mark.integration

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
NO_REDIS = "redis://127.0.0.1:1/0"
LEDGER = b"# TYPE portfolio_ledger_dead_letters_total counter\nportfolio_ledger_dead_letters_total 2.0\n"
WORKER = ProcessName("worker", "books-1", "17")


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    values = {"database_url": NOWHERE, "redis_url": NO_REDIS, "kafka_brokers": "127.0.0.1:1", **settings}
    app = create_app(Settings(_env_file=None, **values))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


async def scrape(client: httpx.AsyncClient) -> Scrape:
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return Scrape(answer.text)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[MetricsStore]:
    store = MetricsStore(redis_url)
    yield store
    await store.close()


async def test_every_process_is_told_of_until_it_ends(redis_url: str, store: MetricsStore) -> None:
    async with serving(redis_url=redis_url) as client:
        await store.put(WORKER, LEDGER)
        await store.put(WORKER._replace(pid="18"), LEDGER)
        told = await scrape(client)
        assert told.processes() == {"api", "worker"}
        assert told.total("portfolio_ledger_dead_letters_total", host="books-1") == 4
        assert told.values("portfolio_ledger_dead_letters_total", pid="17") == [2]
        await store.remove(WORKER)
        assert (await scrape(client)).total("portfolio_ledger_dead_letters_total") == 2


async def test_each_instance_tells_of_the_others_and_of_itself_once(redis_url: str, store: MetricsStore) -> None:
    other = ProcessName("api", "books-2", "5")
    async with serving(redis_url=redis_url) as client:
        await store.put(other, b"# TYPE portfolio_api_live_readers gauge\nportfolio_api_live_readers 7\n")

        async def both_share() -> bool:
            return {name for name, _ in await store.all()} == {other, this_process("api")}

        await eventually(both_share, timeout_s=20)
        assert sorted((await scrape(client)).values("portfolio_api_live_readers", process="api")) == [0, 7]
    assert [name for name, _ in await store.all()] == [other], "who ends takes back what it told"


async def test_what_others_leave_in_redis_breaks_nothing(redis_url: str, store: MetricsStore) -> None:
    async with redis.asyncio.from_url(redis_url) as raw:
        await store.put(WORKER, LEDGER)
        assert 0 < await raw.ttl(WORKER.key) <= KEPT_S
        await store.put(WORKER._replace(pid="18"), b"\xff{{{\n")
        await raw.zadd(INDEX, {b"\xff\xfe": 1, b"portfolio:metrics:nothing": 2, b"portfolio:metrics:expired:h:1": 3})
        await raw.set("portfolio:metrics:nothing", LEDGER)
        async with serving(redis_url=redis_url) as client:
            assert (await scrape(client)).total("portfolio_ledger_dead_letters_total") == 2


@pytest.mark.parametrize("url", [NO_REDIS, ""])
async def test_without_redis_the_api_tells_of_itself(url: str, redis_url: str) -> None:
    if not url:  # a key of another type, so that every question is refused
        async with redis.asyncio.from_url(redis_url) as raw:
            await raw.set(INDEX, "text")
    async with serving(redis_url=url or redis_url) as client:
        assert (await scrape(client)).processes() == {"api"}


async def test_requests_are_measured_by_the_template_of_their_route() -> None:
    async with serving() as client:
        before = await scrape(client)
        for path in (
            "/portfolio/positions/AAAUSDT",
            "/portfolio/positions/BBBUSDT",
            "/nowhere",
            "/.env",
            "/health/live",
        ):
            await client.get(path)
        after = await scrape(client)

    def more(**labels: str) -> float:
        name = "portfolio_api_request_seconds_count"
        return after.total(name, **labels) - before.total(name, **labels)

    assert more(route="/portfolio/positions/{symbol}", status="503") == 2
    assert more(route="(other)") == 2
    assert more(route="/health/live", status="200", method="GET") == 1
    assert more(route="/metrics") == 1
    assert after.values("portfolio_reader_connections", state="max") == [10]


async def test_a_key_for_some_accounts_does_not_see_the_names_of_all(database_url: str) -> None:
    await migrate(database_url)
    keys = KeyStore(database_url, actor="tester")
    tokens = {
        200: await keys.create("prometheus", scopes=["admin:read"]),
        403: await keys.create("mine", scopes=SCOPES, accounts=["main"]),
    }
    books_only = await keys.create("books", scopes=["portfolio:read"])
    async with serving(database_url=database_url, host="0.0.0.0") as client:
        assert (await client.get("/metrics")).status_code == 401
        for status, token in (*tokens.items(), (403, books_only)):
            answer = await client.get("/metrics", headers={"Authorization": f"Bearer {token.text}"})
            assert answer.status_code == status
            assert token.text not in answer.text
            assert token.id not in answer.text


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[str, Any]] = []
        self.setFormatter(JsonFormatter("api"))

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    handler = _Lines()
    logging.getLogger("api").addHandler(handler)
    yield handler.told
    logging.getLogger("api").removeHandler(handler)


async def test_every_answer_has_an_id_that_the_lines_of_its_request_carry(lines: list[dict[str, Any]]) -> None:
    async with serving() as client:
        headers = {"Authorization": "Bearer of-nothing", "X-Request-ID": "trace/1:a"}
        refused = await client.get("/portfolio/overview", headers=headers)
        assert (refused.status_code, refused.headers["X-Request-ID"]) == (401, "trace/1:a")
        assert [line["request_id"] for line in lines if "is refused" in line["message"]] == ["trace/1:a"]
        for path in ("/health/live", "/nowhere", "/openapi.json", "/"):
            assert len((await client.get(path)).headers["X-Request-ID"]) == 32, path


@pytest.mark.parametrize("told", ["", "a b", "x" * 101, '"}{', "ünï".encode(), b"\xff", "%0d%0a"])
async def test_an_id_that_could_forge_a_line_is_replaced(told: str | bytes) -> None:
    async with serving() as client:
        answer = await client.get(
            "/health/live", headers=[(b"X-Request-ID", told if isinstance(told, bytes) else told.encode())]
        )
        assert answer.headers["X-Request-ID"].isalnum()
        assert len(answer.headers["X-Request-ID"]) == 32
