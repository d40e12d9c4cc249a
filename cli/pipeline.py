"""What `portfolio up` runs: every part of the pipeline, in its order, with its environment."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx

from infra.embedded.children import Child, ListeningPort, Task
from infra.embedded.data_directory import holds_simulated_account
from infra.embedded.downloads import MAVEN_CENTRAL, Downloader
from infra.embedded.kafka import EmbeddedKafka
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.redis import EmbeddedRedis
from infra.embedded.servers import Directories, Part
from infra.portfolio_file import is_simulated, load_accounts, load_portfolio_file, simulated_key
from infra.settings import Settings

_DEMO_KEYS = {"BINANCE_API_KEY": "demo-key", "BINANCE_SECRET_KEY": "demo-secret"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose.

    Attributes:
        workers: Number of Faust workers.
        speed: How many times as fast the simulated market runs.
        with_demo: Whether the demo trader trades.
    """

    workers: int = 1
    speed: float = 1.0
    with_demo: bool = True


class Pipeline:
    """The parts of one pipeline.

    Secrets reach the children through their environment, which only their owner can read, never through their
    command line, which everybody can.
    """

    def __init__(self, settings: Settings, directories: Directories, options: Options) -> None:
        """Plan a pipeline; nothing is started.

        Args:
            settings: The settings in force.
            directories: Where data, logs and records go.
            options: What the user chose.

        Raises:
            RemediableError: portfolio.toml cannot be read, or says something that it cannot.
        """
        self._settings = settings
        self._directories = directories
        self._options = options
        self._accounts = load_accounts(settings)
        self._is_simulated = is_simulated(settings)
        self._environment = _child_environment(settings, directories, is_simulated=self._is_simulated)
        self._servers = [*self._plan_servers(), self._plan_api()]
        self._services = self._plan_services()

    def skipped(self) -> list[tuple[str, str]]:
        """The parts that are not started, each with the reason."""
        settings = self._settings
        reasons = [
            ("kafka", "KAFKA_BROKERS is set", settings.kafka_brokers is not None),
            ("postgres", "DATABASE_URL is set", settings.database_url is not None),
            ("redis", "REDIS_URL is set", settings.redis_url is not None),
            ("exchange", f"{self._real_because()}: the real exchange is followed", not self._is_simulated),
        ]
        return [(name, reason) for name, reason, is_skipped in reasons if is_skipped]

    def _real_because(self) -> str:
        is_in_file = bool(load_portfolio_file(self._settings).accounts)
        return f"{self._settings.portfolio_config} names accounts" if is_in_file else "BINANCE_API_KEY is set"

    def servers(self) -> Sequence[Part]:
        """What needs nothing else to start: Kafka, Postgres, Redis, the simulated exchange, and the API.

        The API is slow to import and connects when it is first asked, so it need not wait for its database.
        """
        return self._servers

    def preparations(self) -> tuple[Part, Part]:
        """The tasks that the service needs done: the database schema, and the topics.

        The first waits for its database by itself, so it can be started beside the servers.
        """
        return self._task("migrate"), self._task("topics")

    def services(self) -> Sequence[Part]:
        """What moves the data: gateway, workers, bots' executions, the watch over the alerts, the demo trader."""
        return self._services

    def _plan_servers(self) -> list[Part]:
        settings, directories = self._settings, self._directories
        parts: list[Part] = []
        if settings.kafka_brokers is None:
            jars = Downloader(settings.maven_url or MAVEN_CENTRAL, settings.cache_dir.expanduser() / "kafka")
            parts.append(EmbeddedKafka(directories, settings.kafka_port, jars))
        if settings.database_url is None:
            parts.append(EmbeddedPostgres(directories, settings.postgres_port))
        if settings.redis_url is None:
            parts.append(EmbeddedRedis(directories, settings.redis_port))
        if self._is_simulated:
            parts.append(self._exchange())
        return parts

    def _exchange(self) -> Child:
        """The simulated exchange, with the accounts of portfolio.toml."""
        address = f"http://127.0.0.1:{self._settings.exchange_port}"
        return self._child(
            "exchange",
            *self._speed(),
            address=address,
            port=ListeningPort(self._settings.exchange_port, "PORTFOLIO_EXCHANGE_PORT"),
            ping=f"{address}/api/v3/ping",
        )

    def _plan_services(self) -> list[Part]:
        options = self._options
        numbers = range(1, options.workers + 1)
        parts: list[Part] = [
            self._child("gateway"),
            *(self._child("worker", "--index", str(number), name=f"worker-{number}") for number in numbers),
            self._child("executions"),
            self._child("alerts", "run"),
        ]
        if options.with_demo and self._is_simulated and any(each.source == "binance" for each in self._accounts):
            parts.append(self._child("demo", *self._speed()))
        return parts

    def _plan_api(self) -> Child:
        settings = self._settings
        port = ListeningPort(settings.port, "PORTFOLIO_PORT or --port", settings.host)
        return self._child("api", address=api_url(settings), port=port, ping=f"{api_url(settings)}/health/live")

    def _speed(self) -> list[str]:
        return [] if self._options.speed == 1.0 else ["--speed", f"{self._options.speed:g}"]

    def _child(
        self,
        command: str,
        *arguments: str,
        name: str = "",
        address: str = "",
        port: ListeningPort | None = None,
        ping: str = "",
    ) -> Child:
        child = Child(
            name=name or command,
            directories=self._directories,
            command=[*_PORTFOLIO, command, *arguments],
            environment=self._environment,
            address=address,
            port=port,
        )
        if ping:
            child.is_ready = lambda: _answers(ping)
        return child

    def _task(self, command: str) -> Task:
        return Task(command, self._directories, [*_PORTFOLIO, command], self._environment)


_PORTFOLIO = (sys.executable, "-m", "cli.main")


def api_url(settings: Settings) -> str:
    """The address of the API as a browser on this machine reaches it."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - compared, not bound
    scheme = "http" if settings.tls_certificate is None else "https"
    return f"{scheme}://{host}:{settings.port}"


def _child_environment(settings: Settings, directories: Directories, *, is_simulated: bool) -> Mapping[str, str]:
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "KAFKA_BROKERS": settings.brokers,
        "DATABASE_URL": settings.database_dsn,
        "DATABASE_READ_URL": settings.database_read_dsn,
        "REDIS_URL": settings.redis_dsn,
        "PORTFOLIO_DATA_DIR": str(directories.root),
        "PORTFOLIO_HOST": settings.host,
        "PORTFOLIO_PORT": str(settings.port),
        "PORTFOLIO_EXCHANGE_PORT": str(settings.exchange_port),
    }
    if load_portfolio_file(settings).accounts:
        environment["PORTFOLIO_CONFIG"] = str(settings.portfolio_config.expanduser().absolute())
        # A single account's key would stand beside those of the file, and mean nothing.
        environment |= dict.fromkeys(_DEMO_KEYS, "")
    if is_simulated:
        environment |= simulated_exchange(settings)
    return environment


def simulated_exchange(settings: Settings) -> dict[str, str]:
    """The environment in which a part talks to the simulated exchange on this machine."""
    exchange = f"127.0.0.1:{settings.exchange_port}"
    addresses = {
        "BINANCE_REST_URL": f"http://{exchange}",
        "BINANCE_WS_API_URL": f"ws://{exchange}/ws-api/v3",
        "BINANCE_STREAM_URL": f"ws://{exchange}",
    }
    file = load_portfolio_file(settings)
    if not file.accounts:
        return _DEMO_KEYS | addresses
    keys = {name: simulated_key(name) for name, table in file.accounts.items() if table.source == "binance"}
    named = [f"{name}:{key.key.get_secret_value()}:{key.secret.get_secret_value()}" for name, key in keys.items()]
    return addresses | ({"PORTFOLIO_EXCHANGE_ACCOUNTS": " ".join(named)} if named else {})


def with_simulated_exchange(settings: Settings) -> Settings:
    """The settings with the addresses of the simulated exchange on this machine, where portfolio.toml says so.

    An address that somebody set stays.
    """
    if load_portfolio_file(settings).exchange != "simulated":
        return settings
    addresses = {name.lower(): value for name, value in simulated_exchange(settings).items()}
    unset = {
        name: value
        for name, value in addresses.items()
        if name in Settings.model_fields and getattr(settings, name) == Settings.model_fields[name].default
    }
    return settings.model_copy(update=unset)


def settings_as_started(settings: Settings) -> Settings:
    """The settings of what `portfolio up` runs on this machine: without keys, that is the simulated exchange."""
    if load_portfolio_file(settings).accounts:
        return with_simulated_exchange(settings)
    if settings.follows_real_binance or not holds_simulated_account(settings.data_dir.expanduser()):
        return settings
    simulated = {name.lower(): value for name, value in simulated_exchange(settings).items()}
    # What nobody set stays unset: a portfolio.toml that was asked for must be there.
    return Settings.model_validate(settings.model_dump(exclude_unset=True) | simulated)


def _answers(url: str) -> bool:
    try:
        # The certificate of the API is for the name that others know this machine by.
        return httpx.get(url, timeout=2, trust_env=False, verify=False).is_success  # noqa: S501 - this machine asks itself
    except httpx.TransportError:
        return False
