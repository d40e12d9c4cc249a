import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.embedded.checks import free_port
from infra.embedded.children import Child, ListeningPort, Task
from infra.embedded.processes import NotReadyError, StartCancelledError, stop_leftovers
from infra.embedded.servers import Directories
from infra.embedded.supervisor import RestartPolicy, Stage, Supervisor
from infra.errors import RemediableError

QUICK = RestartPolicy(deaths_max=2, window_s=60, first_delay_s=0.05)
SLEEP = "import time; time.sleep(60)"
ENVIRONMENT = {"PYTHONUNBUFFERED": "1"}


class Stack:
    """A supervisor with tiny children, and what it reported."""

    def __init__(self, directory: Path) -> None:
        self.directories = Directories(directory)
        self.cancelled = threading.Event()
        self.reports: list[tuple[str, Stage, str]] = []
        self.supervisor = Supervisor(lambda *report: self.reports.append(report), self.cancelled, QUICK)

    def child(self, name: str, code: str = SLEEP, **more: object) -> Child:
        return Child(name, self.directories, [sys.executable, "-c", code], ENVIRONMENT, **more)  # type: ignore[arg-type]

    def task(self, name: str, code: str) -> Task:
        return Task(name, self.directories, [sys.executable, "-c", code], ENVIRONMENT)

    def order_of(self, stage: Stage) -> list[str]:
        return [name for name, reported, _ in self.reports if reported is stage]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    yield stack
    stack.supervisor.stop()


def pid_of(child: Child) -> int:
    assert child.process.pid is not None
    return child.process.pid


def test_a_group_starts_when_the_one_before_it_is_ready_and_stops_before_it(stack: Stack, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    make_flag = f"import pathlib, time; time.sleep(0.2); pathlib.Path({str(flag)!r}).touch(); time.sleep(60)"
    need_flag = f"import pathlib; pathlib.Path({str(flag)!r}).stat(); {SLEEP}"
    server, client = stack.child("server", make_flag, is_ready=flag.exists), stack.child("client", need_flag)

    stack.supervisor.start(server)
    stack.supervisor.start(client)
    stack.supervisor.watch(timeout_s=0.3)
    assert (server.process.exit_code(), client.process.exit_code()) == (None, None)
    stack.supervisor.stop()

    assert stack.order_of(Stage.STOPPING) == ["client", "server"]
    assert (server.process.exit_code(), client.process.exit_code()) == (-signal.SIGTERM, -signal.SIGTERM)
    assert list(stack.directories.run.iterdir()) == []


def test_a_child_that_dies_is_started_again_and_this_is_said(stack: Stack) -> None:
    child = stack.child("child")
    stack.supervisor.start(child)
    first = pid_of(child)
    psutil.Process(first).kill()

    assert stack.supervisor.watch(lambda: pid_of(child) != first, timeout_s=30)

    assert ("child", Stage.DIED, "exit code -9; started again in 0.05 s") in stack.reports
    assert psutil.Process(pid_of(child)).is_running()


def test_a_child_that_dies_too_often_ends_the_stack_with_the_tail_of_its_log(stack: Stack) -> None:
    stack.supervisor.start(stack.child("child", "print('the reason'); raise SystemExit(3)"))

    with pytest.raises(NotReadyError, match=r"(?s)child died 3 times within 60 s.*exit code 3.*the reason"):
        stack.supervisor.watch(timeout_s=30)


def port_holder() -> socket.socket:
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return holder


def test_a_port_that_is_busy_for_a_moment_only_delays_a_restart(stack: Stack) -> None:
    """Whatever took the port while the part was dead: the rest of the stack must not fall with it."""
    number = free_port()
    child, other = stack.child("api", port=ListeningPort(number, "PORTFOLIO_PORT")), stack.child("other")
    stack.supervisor.start(child, other)
    first = pid_of(child)
    with port_holder() as holder:
        psutil.Process(first).kill()
        holder.bind(("127.0.0.1", number))
        holder.listen()
        busy = f"port {number} (api) is in use by "
        assert stack.supervisor.watch(lambda: any(words.startswith(busy) for *_, words in stack.reports), timeout_s=30)

    assert stack.supervisor.watch(lambda: pid_of(child) != first, timeout_s=30)
    assert other.process.exit_code() is None


def test_a_disk_that_cannot_be_written_for_a_moment_only_delays_a_restart(stack: Stack) -> None:
    child = stack.child("child")
    stack.supervisor.start(child)
    in_the_way = child.process.record_file.with_suffix(".part")
    in_the_way.mkdir()
    os.kill(pid_of(child), signal.SIGKILL)

    def died() -> list[str]:
        return [words for _, stage, words in stack.reports if stage is Stage.DIED]

    assert stack.supervisor.watch(lambda: len(died()) == 2, timeout_s=30)
    assert "cannot be written" in died()[1]
    assert child.process.exit_code() is not None  # without a record nothing is left running

    in_the_way.rmdir()
    assert stack.supervisor.watch(lambda: child.process.exit_code() is None, timeout_s=30)


def test_a_port_that_stays_busy_ends_the_watch_with_the_remedy(stack: Stack) -> None:
    number = free_port()
    child = stack.child("api", port=ListeningPort(number, "PORTFOLIO_PORT"))
    stack.supervisor.start(child)
    with port_holder() as holder:
        psutil.Process(pid_of(child)).kill()
        holder.bind(("127.0.0.1", number))
        holder.listen()
        with pytest.raises(RemediableError, match="is in use by") as raised:
            stack.supervisor.watch(timeout_s=30)
    assert "PORTFOLIO_PORT" in raised.value.remedy


def test_a_part_that_dies_while_it_starts_is_told_with_the_tail_of_its_log(stack: Stack) -> None:
    child = stack.child("child", "raise SystemExit('no good')", is_ready=lambda: False)

    with pytest.raises(NotReadyError, match=r"(?s)child exited with code 1.*no good"):
        stack.supervisor.start(child)


def test_a_failure_gives_up_the_others_of_its_group_at_once(stack: Stack) -> None:
    began = time.monotonic()

    with pytest.raises(NotReadyError, match="bad exited"):
        stack.supervisor.start(
            stack.child("slow", is_ready=lambda: False),
            stack.child("bad", "raise SystemExit(1)", is_ready=lambda: False),
        )

    assert time.monotonic() - began < 30


def test_a_start_can_be_cancelled(stack: Stack) -> None:
    threading.Timer(0.2, stack.cancelled.set).start()

    with pytest.raises(StartCancelledError):
        stack.supervisor.start(stack.child("slow", is_ready=lambda: False))


def test_tasks_run_to_their_end_and_are_not_watched(stack: Stack, tmp_path: Path) -> None:
    done = tmp_path / "done"
    stack.supervisor.start(stack.task("task", f"import pathlib; pathlib.Path({str(done)!r}).touch()"))

    assert done.exists()
    assert not stack.supervisor.watch(timeout_s=0.2)
    assert Stage.DIED not in [stage for _, stage, _ in stack.reports]


def test_a_task_that_fails_is_told_with_the_tail_of_its_log(stack: Stack) -> None:
    with pytest.raises(NotReadyError, match=r"(?s)migrate exited with code 1.*no such table"):
        stack.supervisor.start(stack.task("migrate", "raise SystemExit('no such table')"))


def test_a_child_that_does_not_heed_the_signal_is_killed_with_its_own_children(stack: Stack, tmp_path: Path) -> None:
    stubborn = (
        "import pathlib, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"path = pathlib.Path({str(tmp_path / 'part')!r})\n"
        "path.write_text(str(inner.pid))\n"
        f"path.rename({str(tmp_path / 'pid')!r})\n"
        "time.sleep(60)"
    )
    child = stack.child("stubborn", stubborn, is_ready=(tmp_path / "pid").exists)
    stack.supervisor.start(child)
    inner = psutil.Process(int((tmp_path / "pid").read_text()))

    child.process.stop(timeout_s=0.2)

    assert child.process.exit_code() == -signal.SIGKILL
    inner.wait(5)


def test_a_child_is_asked_to_stop_only_once(stack: Stack, tmp_path: Path) -> None:
    counting = (
        "import pathlib, signal, time\n"
        f"log = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "log.touch()\n"
        "signal.signal(signal.SIGTERM, lambda *_: log.write_text(log.read_text() + 'x'))\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "deadline = time.monotonic() + 0.5\n"
        "while time.monotonic() < deadline: time.sleep(0.05)"
    )
    child = stack.child("child", counting, is_ready=(tmp_path / "ready").exists)
    stack.supervisor.start(child)

    child.process.request_stop()
    child.process.wait_until(lambda: (tmp_path / "count").read_text() != "", timeout_s=30)
    stack.supervisor.stop()

    assert (tmp_path / "count").read_text() == "x"


def test_what_a_killed_supervisor_left_is_stopped_last_started_first(stack: Stack) -> None:
    server, client = stack.child("server"), stack.child("client")
    stack.supervisor.start(server)
    stack.supervisor.start(client)
    first = pid_of(server)
    psutil.Process(first).kill()
    assert stack.supervisor.watch(lambda: pid_of(server) != first, timeout_s=30)

    assert stop_leftovers(stack.directories.run) == ["client", "server"]

    assert not psutil.pid_exists(pid_of(client))
    assert not psutil.pid_exists(pid_of(server))
