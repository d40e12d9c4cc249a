"""Child processes that outlive a lost parent only until the next start.

A child runs in a session of its own, so that Ctrl-C in the terminal reaches the supervisor and nobody else. Each
leaves a small record of who it is; a supervisor that was killed cannot stop its children, so the next one reads
the records and does.
"""

import os
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import msgspec
import psutil

from infra.embedded.checks import unwritable
from infra.errors import RemediableError

_SETTING = "PORTFOLIO_DATA_DIR"
_POLL_S = 0.05
_LOG_BYTES_MAX = 16 * 1024 * 1024
_CLOCK_TOLERANCE_S = 2.0
"""The system derives a process's start time from its boot time, which clock corrections move a little."""


class StartCancelledError(Exception):
    """The start was given up because the user asked to stop."""


class NotReadyError(Exception):
    """A process died, or did not get ready in time."""


class ProcessRecord(msgspec.Struct, frozen=True):
    """What is written about a running child.

    Attributes:
        name: The child's name.
        pid: Its process id, which is also its process group's.
        start_time_s: When it started, seconds since the epoch; with the pid it names one process for good.
        first_start_time_s: When its supervisor started it for the first time; a restart does not change it.
        stop_signal: The signal that asks it to stop.
    """

    name: str
    pid: int
    start_time_s: float
    first_start_time_s: float
    stop_signal: int

    def process(self) -> psutil.Process | None:
        """The process, if it still runs; another one that has got the same pid since is not taken for it."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.start_time_s) <= _CLOCK_TOLERANCE_S
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True, slots=True)
class SystemUser:
    """A user of the operating system, with its own group: in root's group it would count as root's kin.

    Attributes:
        uid: User id.
        gid: Group id.
    """

    uid: int
    gid: int


@dataclass(slots=True)
class ManagedProcess:
    """One child process with its log and its record.

    Attributes:
        name: Short name; also the name of the log and of the record.
        log_file: Where its output is appended.
        record_file: Where its record is kept while it runs.
        stop_signal: The signal that asks it to stop cleanly.
        user: The system user to run as; None for the current one.
    """

    name: str
    log_file: Path
    record_file: Path
    stop_signal: signal.Signals = signal.SIGTERM
    user: SystemUser | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _first_start_time_s: float | None = field(default=None, init=False)
    _is_asked_to_stop: bool = field(default=False, init=False)

    def spawn(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start the process.

        Args:
            command: Program and arguments; never a secret, since every user of the machine can read them.
            environment: The whole environment; None hands on the current one.

        Raises:
            RemediableError: The program cannot be run on this machine, or its log or record cannot be written.
        """
        try:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            self.record_file.parent.mkdir(parents=True, exist_ok=True)
            keep_log_small(self.log_file)
            opened = self.log_file.open("ab")
        except OSError as error:
            raise unwritable(self.log_file, error, setting=_SETTING) from error
        with opened as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                    **as_user(self.user),
                )
            except OSError as error:
                raise cannot_run(command[0], error) from error
        self._is_asked_to_stop = False
        try:
            self._write_record(self._process.pid)
        except OSError as error:
            # Without its record nobody would find it when this process is killed.
            _kill_group(self._process.pid)
            self._process.wait()
            raise unwritable(self.record_file, error, setting=_SETTING) from error

    def _write_record(self, pid: int) -> None:
        try:
            start_time_s = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return
        self._first_start_time_s = self._first_start_time_s or time.time()
        record = ProcessRecord(self.name, pid, start_time_s, self._first_start_time_s, int(self.stop_signal))
        part = self.record_file.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(record))
        part.replace(self.record_file)

    @property
    def pid(self) -> int | None:
        """The process id; None before the first start."""
        return None if self._process is None else self._process.pid

    def exit_code(self) -> int | None:
        """The exit code of a process that was started and is gone; None while it runs, and before the first start."""
        return None if self._process is None else self._process.poll()

    def wait_until(
        self, is_ready: Callable[[], bool], *, timeout_s: float, cancelled: threading.Event | None = None
    ) -> None:
        """Wait until the condition holds.

        Raises:
            NotReadyError: The process died, or the time is over; the message ends with the tail of the log.
            StartCancelledError: `cancelled` was set.
        """
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            if cancelled is not None and cancelled.is_set():
                raise StartCancelledError
            code = self.exit_code()
            if code is not None:
                raise NotReadyError(f"{self.name} exited with code {code}.\n{log_tail(self.log_file)}")
            if time.monotonic() > deadline:
                raise NotReadyError(f"{self.name} is not ready after {timeout_s:.0f} s.\n{log_tail(self.log_file)}")
            time.sleep(_POLL_S)

    def request_stop(self) -> None:
        """Ask the process to stop, without waiting; once only, since many programs give up hope at a second signal."""
        if self._process is not None and self._process.poll() is None and not self._is_asked_to_stop:
            self._is_asked_to_stop = True
            self._process.send_signal(self.stop_signal)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ask the process to stop, wait, and kill its whole group when the time is over."""
        if self._process is None:
            return
        self.request_stop()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _kill_group(self._process.pid)
            self._process.wait()
        self.record_file.unlink(missing_ok=True)


class UserArguments(TypedDict, total=False):
    """Arguments of `subprocess` that choose the user."""

    user: int
    group: int
    extra_groups: list[int]


def as_user(user: SystemUser | None) -> UserArguments:
    """The arguments that make a child run as the user; none for the current one."""
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}


def stop_leftovers(run_directory: Path, timeout_s: float = 10.0) -> list[str]:
    """Stop what a supervisor that was killed has left running, and return the names.

    What was started last is stopped first, so that servers outlive the processes that use them.
    """
    records = _read_records(run_directory)
    stopped = []
    for path, record in sorted(records, key=lambda found: found[1].first_start_time_s, reverse=True):
        process = record.process()
        if process is not None:
            process.send_signal(record.stop_signal)
            try:
                process.wait(timeout_s)
            except psutil.TimeoutExpired:
                _kill_group(record.pid)
                process.wait(timeout_s)
            stopped.append(record.name)
        path.unlink(missing_ok=True)
    return stopped


def _read_records(run_directory: Path) -> Iterable[tuple[Path, ProcessRecord]]:
    for path in run_directory.glob("*.json"):
        try:
            yield path, msgspec.json.decode(path.read_bytes(), type=ProcessRecord)
        except msgspec.MsgspecError:
            path.unlink()


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def keep_log_small(log_file: Path) -> None:
    """Move a log that has grown large aside, once, so that logs never fill the disk by themselves."""
    if log_file.exists() and log_file.stat().st_size > _LOG_BYTES_MAX:
        log_file.replace(log_file.with_suffix(".old.log"))


def log_tail(log_file: Path, lines: int = 12) -> str:
    """The last lines of a log, each indented; a note when there are none."""
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, log_file.stat().st_size - 16 * 1024))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        text = ""
    tail = text.splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in tail) or f"    ({log_file} is empty)"


def cannot_run(program: str, error: OSError) -> RemediableError:
    """The one line for a server binary that this machine cannot execute."""
    return RemediableError(
        f"{program} does not run on {platform.system()} {platform.machine()}: {error.strerror}",
        "Use servers of your own (KAFKA_BROKERS, DATABASE_URL, REDIS_URL) or `docker compose up`",
    )
