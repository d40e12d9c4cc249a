"""The stack under test: what `portfolio up` starts, on ports and data of its own, and the hands that disturb it."""

import contextlib
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from cli.chaos.plan import EXCHANGE
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


def settings_of_its_own(settings: Settings, root: Path, disk: Path, accounts: Sequence[str]) -> Settings:
    """The settings in force, with free ports, the embedded servers, and accounts on the simulated exchange.

    Args:
        settings: What is in force.
        root: Where the exchange keeps its data, which is no part of the service, and the file with the accounts goes.
        disk: Where all parts of the service keep theirs.
        accounts: Names of the accounts.
    """
    portfolio_file = root / "portfolio.toml"
    portfolio_file.write_text('exchange = "simulated"\n' + "".join(f"[accounts.{name}]\n" for name in accounts))
    (root / EXCHANGE).mkdir()
    (disk / EXCHANGE).symlink_to(root / EXCHANGE)
    own: dict[str, object] = dict.fromkeys(
        ("kafka_brokers", "database_url", "redis_url", "binance_api_key", "binance_secret_key")
    )
    ports = dict(zip(_PORT_SETTINGS, _free_ports(), strict=True))
    places = {"data_dir": disk, "portfolio_config": portfolio_file, "host": "127.0.0.1"}
    return settings.model_copy(update={**own, **places, **ports})


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
        spare: Name of one more worker, which is not started with the others.
    """

    def __init__(self, settings: Settings, workers: int, say: Callable[[str], None]) -> None:
        """Plan it.

        Args:
            settings: What `settings_of_its_own` made.
            workers: How many workers.
            say: Where progress goes.
        """
        self.settings = settings
        *self.workers, self.spare = [f"worker-{number}" for number in range(1, workers + 2)]
        self._say = say
        self._directories = Directories(settings.data_dir)
        self._pipeline = Pipeline(settings, self._directories, Options(workers=workers + 1, with_demo=False))
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
            self._supervisor.start(*(part for part in self._pipeline.services() if part.name != self.spare))
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
            self._failure = f"the supervisor gave up: {error!r}"
            self._say(self._failure)

    def _report(self, name: str, stage: Stage, words: str) -> None:
        self._say(f"  {name}: {stage.value}{f' ({words})' if words else ''}")

    @property
    def failure(self) -> str | None:
        """Why the supervisor gave up; None while it has not."""
        return self._failure

    def process_ids(self) -> dict[str, int | None]:
        """The process id of each part that is to run; None for one that is down."""
        names = [name for name in self._parts if name != self.spare]
        return {name: self.process_id(name) for name in names}

    def process_id(self, name: str) -> int | None:
        """The process id of a part; None while it is down."""
        process = self._part(name).process
        return None if process.exit_code() is not None else process.pid

    def kill(self, name: str) -> None:
        """SIGKILL a part with all its children."""
        _send(self._tree(name), signal.SIGKILL)

    def wipe(self, name: str) -> None:
        """SIGKILL a worker and take its tables away before it is started again."""
        self._part(name).runs_on = False
        try:
            while self.process_id(name) is not None:
                self.kill(name)
                time.sleep(_POLL_S)
            shutil.rmtree(self._directories.data(name), ignore_errors=True)
        finally:
            self._part(name).runs_on = True

    def suspend(self, name: str) -> Callable[[], None]:
        """SIGSTOP a part with all its children; what is returned makes it go on."""
        processes = self._tree(name)
        self._hanging.extend(processes)
        _send(processes, signal.SIGSTOP)
        return lambda: _send(processes, signal.SIGCONT)

    def leave(self, name: str) -> None:
        """Stop a worker as an operator would, and leave it stopped."""
        part = self._part(name)
        part.runs_on = False
        part.process.stop()

    def join(self, name: str) -> None:
        """Start a worker that was left stopped, or the spare one."""
        part = self._part(name)
        part.runs_on = True
        if part.process.pid is None:
            self._supervisor.start(part)

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
