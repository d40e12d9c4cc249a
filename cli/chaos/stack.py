"""The stack under test: what `portfolio up` starts, on ports and data of its own, and the hands that disturb it."""

import contextlib
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from cli.pipeline import Options, Pipeline
from infra.embedded.checks import require_free_port
from infra.embedded.processes import NotReadyError
from infra.embedded.servers import Directories, Part
from infra.embedded.supervisor import RestartPolicy, Stage, Supervisor
from infra.errors import RemediableError
from infra.settings import Settings

_POLICY = RestartPolicy(deaths_max=8, window_s=20.0, first_delay_s=0.5)
"""Parts are killed on purpose here. What dies by itself as well gets restarts for a few minutes, then ends the run."""

_POLL_S = 0.01

_PORT_SETTINGS = ("kafka_port", "postgres_port", "redis_port", "exchange_port", "port")
# Below the range that the system takes source ports from: while a server is down, its clients keep trying to reach
# its port, and one whose source port happens to be the same connects to itself and holds the port.
_PORTS = range(20_000, 32_000)


def settings_of_its_own(settings: Settings, root: Path) -> Settings:
    """The settings in force, with free ports, data below `root`, the embedded servers and the simulated exchange."""
    own: dict[str, object] = dict.fromkeys(
        ("kafka_brokers", "database_url", "redis_url", "binance_api_key", "binance_secret_key")
    )
    return settings.model_copy(
        update={**own, "data_dir": root, "host": "127.0.0.1", **dict(zip(_PORT_SETTINGS, _free_ports(), strict=True))}
    )


def _free_ports() -> Iterable[int]:
    # Not drawn from the seed: two runs of one seed may be side by side.
    candidates = random.SystemRandom().sample(_PORTS, 200)
    free = []
    for port in candidates:
        with contextlib.suppress(RemediableError):
            require_free_port(port, purpose="chaos", setting="PORTFOLIO_PORT")
            free.append(port)
        if len(free) == len(_PORT_SETTINGS):
            return free
    raise RemediableError("there are no free ports from 20000 to 31999", "Stop what uses them")


class Stack(AbstractContextManager["Stack"]):
    """A running stack. What dies is started again, by the same supervisor as in `portfolio up`.

    Attributes:
        settings: How to reach it.
        workers: Names of its workers.
    """

    def __init__(self, settings: Settings, workers: int, say: Callable[[str], None]) -> None:
        """Plan it.

        Args:
            settings: What `settings_of_its_own` made.
            workers: How many workers.
            say: Where progress goes.
        """
        self.settings = settings
        self.workers = [f"worker-{number}" for number in range(1, workers + 1)]
        self._say = say
        self._directories = Directories(settings.data_dir)
        self._pipeline = Pipeline(settings, self._directories, Options(workers=workers, with_demo=False))
        self._parts = {part.name: part for part in (*self._pipeline.servers(), *self._pipeline.services())}
        self._ended = threading.Event()
        self._supervisor = Supervisor(self._report, self._ended, _POLICY)
        self._watch = threading.Thread(target=self._watch_over, name="watch")
        self._hanging: list[psutil.Process] = []
        self._failure: str | None = None

    def __enter__(self) -> Self:
        try:
            database_schema, topics = self._pipeline.preparations()
            self._supervisor.start(*self._pipeline.servers(), database_schema)
            self._supervisor.start(topics)
            self._supervisor.start(*self._pipeline.services())
        except BaseException:
            self._supervisor.stop()
            raise
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        # First of all: what is suspended cannot be asked to stop.
        _send(self._hanging, signal.SIGCONT)
        self._watch.join()
        self._supervisor.stop()

    def _watch_over(self) -> None:
        try:
            self._supervisor.watch()
        except (NotReadyError, RemediableError, OSError) as error:
            self._failure = f"the supervisor gave up: {error}"

    def _report(self, name: str, stage: Stage, words: str) -> None:
        self._say(f"  {name}: {stage.value}{f' ({words})' if words else ''}")

    @property
    def failure(self) -> str | None:
        """Why the supervisor gave up; None while it has not."""
        return self._failure

    def process_id(self, name: str) -> int | None:
        """The process id of a part; None while it is down."""
        process = self._part(name).process
        return None if process.exit_code() is not None else process.pid

    def kill(self, name: str) -> None:
        """SIGKILL a part with all its children."""
        _send(self._tree(name), signal.SIGKILL)

    def wipe(self, name: str) -> None:
        """SIGKILL a worker and take its tables away before it is started again."""
        while self.process_id(name) is not None:
            self.kill(name)
            time.sleep(_POLL_S)
        tables = self._directories.data(name)
        # Renamed first: at once, however much there is to delete.
        gone = tables.rename(tables.with_name(f"{name}.wiped"))
        shutil.rmtree(gone)

    def suspend(self, name: str) -> Callable[[], None]:
        """SIGSTOP a part with all its children; what is returned makes it go on."""
        processes = self._tree(name)
        self._hanging.extend(processes)
        _send(processes, signal.SIGSTOP)
        return lambda: _send(processes, signal.SIGCONT)

    def _part(self, name: str) -> Part:
        return self._parts[name]

    def _tree(self, name: str) -> list[psutil.Process]:
        pid = self.process_id(name)
        if pid is None:
            return []
        try:
            process = psutil.Process(pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        # psutil knows a process by its start time too: a pid that was used again is never sent anything.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
