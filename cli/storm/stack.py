"""What the storm needs of the service: Kafka, Redis, the exchange, the gateway. No workers: the log is the result."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.chaos.stack import settings_of_its_own
from cli.pipeline import Options, Pipeline
from infra.embedded.children import Child
from infra.embedded.servers import Directories, Part
from infra.embedded.supervisor import Stage, Supervisor
from infra.settings import Settings

_SERVERS = ("kafka", "redis", "exchange")
# What an operator of a busy account would choose: what the stream did not tell is found within seconds.
_GATEWAY = {
    "PORTFOLIO_BALANCE_SYNC_INTERVAL_S": "5",
    "PORTFOLIO_FLOW_SYNC_INTERVAL_S": "20",
    "PORTFOLIO_VALUATION_INTERVAL_S": "10",
}


class StormStack(AbstractContextManager["StormStack"]):
    """The parts, on ports and data of their own.

    Attributes:
        settings: How to reach them.
    """

    def __init__(self, settings: Settings, root: Path, accounts: Sequence[str], say: Callable[[str], None]) -> None:
        """Plan it.

        Args:
            settings: The settings in force; servers, ports, data directory and accounts are replaced.
            root: Where its data go; empty.
            accounts: Names of the accounts.
            say: Where progress goes.
        """
        data = root / "data"
        data.mkdir()
        self.settings = settings_of_its_own(settings, root, data, accounts)
        self._say = say
        pipeline = Pipeline(self.settings, Directories(data), Options(with_demo=False))
        parts: Mapping[str, Part] = {part.name: part for part in (*pipeline.servers(), *pipeline.services())}
        self._servers = [parts[name] for name in _SERVERS]
        self._topics = pipeline.preparations()[1]
        self._gateway = parts["gateway"]
        assert isinstance(self._gateway, Child)
        self._gateway.environment = {**self._gateway.environment, **_GATEWAY}
        self._supervisor = Supervisor(self._report, threading.Event())

    def __enter__(self) -> Self:
        try:
            self._supervisor.start(*self._servers)
            self._supervisor.start(self._topics)
        except BaseException:
            self._supervisor.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.stop()

    def start_gateway(self) -> None:
        """Let the gateway follow the accounts."""
        self._supervisor.start(self._gateway)

    @property
    def gateway_exit_code(self) -> int | None:
        """With what the gateway has ended; None while it runs."""
        return self._gateway.process.exit_code()

    def _report(self, name: str, stage: Stage, words: str) -> None:
        self._say(f"  {name}: {stage.value}{f' ({words})' if words else ''}")
