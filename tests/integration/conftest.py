"""Real servers for the integration tests."""

import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import redis.asyncio

from infra.settings import Settings
from streams.creation import ensure_topics
from tests.support.stack import Servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers of this run; each starts when a test first needs it, and all are stopped at the end."""
    with Servers() as running:
        yield running


@pytest.fixture(scope="session")
def kafka_brokers(servers: Servers) -> str:
    """A broker for all tests: take topic and group names that no other test uses."""
    return servers.kafka_brokers


@pytest.fixture(scope="module")
def own_brokers() -> Iterator[str]:
    """A broker that no other module uses, without topics: those of the service have fixed names."""
    with Servers() as servers:
        yield servers.kafka_brokers


@pytest.fixture
async def brokers(own_brokers: str) -> str:
    """A broker that no other module uses, with the topics of the service."""
    await ensure_topics(Settings(kafka_brokers=own_brokers), on_wait=print, timeout_s=30)
    return own_brokers


@pytest.fixture
async def database_url(servers: Servers) -> AsyncIterator[str]:
    """An empty database for this test alone."""
    name = f"test_{secrets.token_hex(6)}"
    await _execute(servers.postgres_url, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(servers.postgres_url)._replace(path=f"/{name}"))
    finally:
        await _execute(servers.postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def redis_url(servers: Servers) -> str:
    """A Redis that is empty when the test begins."""
    async with redis.asyncio.from_url(servers.redis_url) as client:
        await client.flushall()
    return servers.redis_url


@pytest.fixture
def measured(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Show a figure for the documents, whatever is captured."""

    def show(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\nmeasured: {line}\n")

    return show
