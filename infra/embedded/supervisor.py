"""Starts the parts of a stack in order, watches them, restarts what dies, stops them in reverse."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import Enum

from infra.embedded.processes import NotReadyError, StartCancelledError, log_tail
from infra.embedded.servers import OnText, Part
from infra.errors import RemediableError

_TICK_S = 0.1
_STOP_TIMEOUT_S = 10.0


class Stage(Enum):
    """What a part is about, as told to the user."""

    STARTING = "starting"
    RUNNING = "running"
    READY = "ready"
    SKIPPED = "skipped"
    DIED = "died"
    STOPPING = "stopping"


Report = Callable[[str, Stage, str], None]
"""Called with the name of a part, its stage and a few words; from several threads while parts start."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often a part may die.

    Attributes:
        deaths_max: Deaths of one part within `window_s` that are answered with a restart; one more ends the stack. A
            restart that something outside is in the way of counts as a death.
        window_s: Seconds after which a death is forgotten.
        first_delay_s: Seconds before the first restart; doubled for each death in the window.
    """

    deaths_max: int = 5
    window_s: float = 60.0
    first_delay_s: float = 0.5


@dataclass(slots=True)
class _Watched:
    part: Part
    deaths: list[float] = field(default_factory=list)
    restart_at: float | None = None


class Supervisor:
    """Runs the parts of one stack.

    Parts are started in groups. A group starts side by side when the one before it is ready; groups are stopped in
    the opposite order.
    """

    def __init__(self, report: Report, cancelled: threading.Event, policy: RestartPolicy | None = None) -> None:
        """Make a supervisor with no parts.

        Args:
            report: Where progress goes.
            cancelled: Set from outside, by a signal, to end the start or the watch.
            policy: How often a part may die.
        """
        self._report = report
        self._cancelled = cancelled
        self._policy = policy or RestartPolicy()
        self._groups: list[list[_Watched]] = []

    def start(self, *parts: Part) -> None:
        """Start a group of parts, and wait until each is ready; a task is ready when it has ended well.

        Raises:
            RemediableError: Something outside the service is in the way of one.
            NotReadyError: One died or did not get ready in time.
            StartCancelledError: The start was cancelled.
        """
        self._groups.append([_Watched(part) for part in parts])
        self._start_together(parts)

    def _start_together(self, parts: Sequence[Part]) -> None:
        abandoned = threading.Event()
        with ThreadPoolExecutor(max(1, len(parts)), thread_name_prefix="start") as pool:
            futures = {pool.submit(self._start_one, part, abandoned) for part in parts}
            pending: set[Future[None]] = futures
            while pending:
                done, pending = wait(pending, timeout=_TICK_S, return_when=FIRST_EXCEPTION)
                if self._cancelled.is_set() or any(future.exception() for future in done):
                    abandoned.set()
        failures = [failure for future in futures if (failure := future.exception()) is not None]
        if failures:
            raise min(failures, key=lambda failure: isinstance(failure, StartCancelledError))

    def _start_one(self, part: Part, abandoned: threading.Event) -> None:
        began = time.monotonic()
        self._report(part.name, Stage.STARTING, "")
        part.start(self._teller(part), abandoned)
        if part.wait_ready(abandoned):
            self._report(part.name, Stage.READY, f"{time.monotonic() - began:.1f} s")
        else:
            self._report(part.name, Stage.RUNNING, "")

    def _teller(self, part: Part) -> OnText:
        return lambda text: self._report(part.name, Stage.STARTING, text)

    def watch(self, until: Callable[[], bool] = lambda: False, *, timeout_s: float | None = None) -> bool:
        """Restart what dies, until the condition holds.

        Args:
            until: Asked about every tenth of a second; it may take a while to answer.
            timeout_s: How long to watch; None: until the condition holds or the watch is cancelled.

        Returns:
            Whether the condition came to hold; False when the time was over or the watch was cancelled.

        Raises:
            NotReadyError: A part died too often; the message ends with the tail of its log.
            RemediableError: A part died, and something outside the service keeps it from starting again.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._cancelled.is_set():
            self._restart_dead()
            if until():
                return True
            if deadline is not None and time.monotonic() > deadline:
                return False
            self._cancelled.wait(_TICK_S)
        return False

    def _restart_dead(self) -> None:
        for watched in [watched for group in self._groups for watched in group]:
            now = time.monotonic()
            if not watched.part.runs_on:
                continue
            if watched.restart_at is None:
                code = watched.part.process.exit_code()
                if code is not None:
                    self._plan_restart(watched, code, now)
            elif now >= watched.restart_at:
                self._restart(watched, now)

    def _restart(self, watched: _Watched, now: float) -> None:
        part = watched.part
        watched.restart_at = None
        self._report(part.name, Stage.STARTING, "again")
        try:
            part.start(self._teller(part), self._cancelled)
        except StartCancelledError:
            return
        except (RemediableError, NotReadyError) as error:
            # Often it passes: a port that something else held for a moment, a disk that somebody clears.
            delay_s = self._delay_after_death(watched, now)
            if delay_s is None:
                raise
            watched.restart_at = now + delay_s
            self._report(part.name, Stage.DIED, f"{error}; started again in {delay_s:g} s")
        else:
            self._report(part.name, Stage.RUNNING, "")

    def _plan_restart(self, watched: _Watched, code: int, now: float) -> None:
        part = watched.part
        delay_s = self._delay_after_death(watched, now)
        if delay_s is None:
            tail = log_tail(part.process.log_file)
            deaths = f"died {len(watched.deaths)} times within {self._policy.window_s:.0f} s"
            raise NotReadyError(f"{part.name} {deaths}, last with exit code {code}.\n{tail}")
        watched.restart_at = now + delay_s
        self._report(part.name, Stage.DIED, f"exit code {code}; started again in {delay_s:g} s")

    def _delay_after_death(self, watched: _Watched, now: float) -> float | None:
        """Count a death, and say how long to wait before the next start; None when there were too many."""
        policy = self._policy
        watched.deaths = [death for death in watched.deaths if now - death < policy.window_s] + [now]
        if len(watched.deaths) > policy.deaths_max:
            return None
        return float(policy.first_delay_s * 2 ** (len(watched.deaths) - 1))

    def stop(self) -> None:
        """Stop every part, the last group first; within a group all at once."""
        while self._groups:
            group = [watched.part for watched in reversed(self._groups.pop())]
            running = [part for part in group if part.process.pid is not None and part.process.exit_code() is None]
            for part in running:
                self._report(part.name, Stage.STOPPING, "")
                part.process.request_stop()
            deadline = time.monotonic() + _STOP_TIMEOUT_S
            for part in group:
                part.process.stop(max(0.0, deadline - time.monotonic()))
