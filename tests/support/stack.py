"""Real servers for tests: containers where a Docker engine answers, else the embedded ones; started on first use."""

import shutil
import subprocess
import tempfile
import threading
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.embedded.checks import free_port
from infra.embedded.downloads import MAVEN_CENTRAL, Downloader
from infra.embedded.kafka import EmbeddedKafka
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.redis import EmbeddedRedis
from infra.embedded.servers import Directories, Part
from infra.settings import Settings

_DOCKER_TIMEOUT_S = 3
# The data of a test need not survive a power cut.
FAST_POSTGRES = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def embedded_kafka(directory: Path, port: int | None = None) -> EmbeddedKafka:
    """A broker with its data below the directory, and the jars from the user's cache."""
    settings = Settings()
    jars = Downloader(settings.maven_url or MAVEN_CENTRAL, settings.cache_dir.expanduser() / "kafka")
    return EmbeddedKafka(Directories(directory), port or free_port(), jars)


def embedded_postgres(directory: Path, port: int | None = None) -> EmbeddedPostgres:
    """A Postgres with its data below the directory."""
    return EmbeddedPostgres(Directories(directory), port or free_port(), FAST_POSTGRES)


def embedded_redis(directory: Path, port: int | None = None) -> EmbeddedRedis:
    """A Redis with its data below the directory."""
    return EmbeddedRedis(Directories(directory), port or free_port())


def bring_up(part: Part) -> None:
    """Start a part and wait until it answers; on failure it is stopped again."""
    never = threading.Event()
    try:
        part.start(lambda _text: None, never)
        part.wait_ready(never)
    except BaseException:
        part.process.stop()
        raise


class Servers(AbstractContextManager["Servers"]):
    """The servers of one test run, each started when its address is first asked for."""

    def __init__(self) -> None:
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    @cached_property
    def kafka_brokers(self) -> str:
        """host:port of a broker."""
        if self._has_docker:
            from testcontainers.community.kafka import KafkaContainer

            container = self._exits.enter_context(KafkaContainer().with_kraft())
            return str(container.get_bootstrap_server())
        return self._start(embedded_kafka(self._directory))

    @cached_property
    def postgres_url(self) -> str:
        """The address of a Postgres as its superuser, with the name of a database that exists."""
        if self._has_docker:
            from testcontainers.community.postgres import PostgresContainer

            container = self._exits.enter_context(PostgresContainer("postgres:18", driver=None))
            return str(container.get_connection_url())
        return self._start(embedded_postgres(self._directory))

    @cached_property
    def redis_url(self) -> str:
        """The address of a Redis."""
        if self._has_docker:
            from testcontainers.community.redis import RedisContainer

            container = self._exits.enter_context(RedisContainer("redis:8"))
            return f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
        return self._start(embedded_redis(self._directory))

    @cached_property
    def _has_docker(self) -> bool:
        if shutil.which("docker") is None:
            return False
        try:
            asked = subprocess.run(["docker", "info"], capture_output=True, timeout=_DOCKER_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return False
        return asked.returncode == 0

    @cached_property
    def _directory(self) -> Path:
        directory = Path(tempfile.mkdtemp(prefix="portfolio-test-"))
        self._exits.callback(shutil.rmtree, directory, ignore_errors=True)
        return directory

    def _start(self, part: Part) -> str:
        bring_up(part)
        self._exits.callback(part.process.stop)
        return part.address
