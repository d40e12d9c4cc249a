"""The service's own processes, as parts of the stack."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from infra.embedded.checks import require_free_port
from infra.embedded.processes import ManagedProcess
from infra.embedded.servers import Directories, OnText

_START_TIMEOUT_S = 60.0
_TASK_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class ListeningPort:
    """A port that a process will open.

    Attributes:
        number: The TCP port.
        setting: Environment variable that moves it elsewhere.
        host: The address it is opened on.
    """

    number: int
    setting: str
    host: str = "127.0.0.1"


@dataclass(slots=True)
class Child:
    """A process that runs until it is stopped.

    Attributes:
        name: Short name.
        directories: Where log and record go.
        command: Program and arguments.
        environment: Its whole environment; secrets go here.
        address: Where it listens, as shown to the user; empty if nowhere.
        port: The port that must be free.
        is_ready: Whether it answers; None if it cannot be asked.
    """

    name: str
    directories: Directories
    command: Sequence[str]
    environment: Mapping[str, str]
    address: str = ""
    port: ListeningPort | None = None
    is_ready: Callable[[], bool] | None = None
    runs_on: bool = field(default=True, init=False)
    process: ManagedProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.directories.managed(self.name)

    def start(self, on_text: OnText, cancelled: threading.Event) -> None:  # noqa: ARG002 - the protocol of all parts
        """Start the process.

        Raises:
            RemediableError: Its port is busy.
        """
        if self.port is not None:
            port = self.port
            require_free_port(port.number, purpose=self.name, setting=port.setting, host=port.host)
        self.process.spawn(self.command, self.environment)

    def wait_ready(self, cancelled: threading.Event) -> bool:
        """Wait until it answers, if it can be asked."""
        if self.is_ready is None:
            return False
        self.process.wait_until(self.is_ready, timeout_s=_START_TIMEOUT_S, cancelled=cancelled)
        return True


@dataclass(slots=True)
class Task:
    """A process that does one thing and ends.

    Attributes:
        name: Short name.
        directories: Where log and record go.
        command: Program and arguments.
        environment: Its whole environment.
    """

    name: str
    directories: Directories
    command: Sequence[str]
    environment: Mapping[str, str]
    address: str = field(default="", init=False)
    runs_on: bool = field(default=False, init=False)
    process: ManagedProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.directories.managed(self.name)

    def start(self, on_text: OnText, cancelled: threading.Event) -> None:  # noqa: ARG002 - the protocol of all parts
        """Start the process."""
        self.process.spawn(self.command, self.environment)

    def wait_ready(self, cancelled: threading.Event) -> bool:
        """Wait until it has ended well.

        Raises:
            NotReadyError: It exited with another code than 0, or takes too long.
        """
        self.process.wait_until(self._has_succeeded, timeout_s=_TASK_TIMEOUT_S, cancelled=cancelled)
        self.process.stop()
        return True

    def _has_succeeded(self) -> bool:
        return self.process.exit_code() == 0
