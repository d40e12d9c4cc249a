"""Faults: what goes wrong on request, by kind, and what did go wrong.

A fault either happens at once (a connection is cut, a clock jumps) or is armed and hits the next messages or requests
that it is meant for. Everything that was injected is listed with its time. Choices (where a frame is cut) follow
from the seed, so the same faults on the same traffic do the same.
"""

import random
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

import msgspec

_SECOND_US = 1_000_000
_LOWEST_SERVER_ERROR, _HIGHEST_SERVER_ERROR = 500, 599


class FaultKind(StrEnum):
    """What can go wrong."""

    # the next messages of a stream
    DROP = "drop"
    DELAY = "delay"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    TRUNCATE = "truncate"
    MALFORM = "malform"
    # connections, at once
    DISCONNECT = "disconnect"
    SILENCE = "silence"
    SERVER_SHUTDOWN = "server-shutdown"
    STREAM_TERMINATED = "stream-terminated"
    # the next requests
    HANG = "hang"
    TOO_MANY_REQUESTS = "too-many-requests"
    BANNED = "banned"
    FORBIDDEN = "forbidden"
    SERVER_ERROR = "server-error"
    TIMEOUT = "timeout"
    OUTSIDE_WINDOW = "outside-window"
    # the exchange, at once
    CLOCK_JUMP = "clock-jump"
    WIPE = "wipe"


class Target(StrEnum):
    """Where a fault strikes."""

    USER = "user"
    MARKET = "market"
    REST = "rest"
    WEBSOCKET_API = "websocket-api"


MESSAGE_KINDS = frozenset(
    {
        FaultKind.DROP,
        FaultKind.DELAY,
        FaultKind.DUPLICATE,
        FaultKind.REORDER,
        FaultKind.TRUNCATE,
        FaultKind.MALFORM,
    }
)
CONNECTION_KINDS = frozenset(
    {FaultKind.DISCONNECT, FaultKind.SILENCE, FaultKind.SERVER_SHUTDOWN, FaultKind.STREAM_TERMINATED}
)
# These hold for a time, whatever the number of requests.
_LASTING_KINDS = frozenset({FaultKind.TOO_MANY_REQUESTS, FaultKind.BANNED})
REQUEST_KINDS = _LASTING_KINDS | {
    FaultKind.HANG,
    FaultKind.FORBIDDEN,
    FaultKind.SERVER_ERROR,
    FaultKind.TIMEOUT,
    FaultKind.OUTSIDE_WINDOW,
}
_STREAMS: tuple[Target, ...] = (Target.USER, Target.MARKET)
_REQUESTS: tuple[Target, ...] = (Target.REST, Target.WEBSOCKET_API)
_DEFAULT_SECONDS = {
    FaultKind.DELAY: 1.0,
    FaultKind.SERVER_SHUTDOWN: 1.0,
    FaultKind.HANG: 10.0,
    FaultKind.TOO_MANY_REQUESTS: 1.0,
    FaultKind.BANNED: 2.0,
}


class FaultError(ValueError):
    """A fault that makes no sense; the message says why."""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault.

    Attributes:
        kind: What goes wrong.
        target: Where; unset, `user` for streams, `rest` for requests, both kinds of request for 429 and 418.
        count: How many messages or requests it hits.
        after: How many are let through before.
        seconds: How long a delay, a silence (unset: for ever), a hang, a 429 or a 418 lasts, or the time from
            `serverShutdown` to the end of the connection; for a clock jump how far, negative for backwards.
        account: Only this account's events and connections.
        path: Only requests whose path (or WebSocket API method) starts so.
        status: The status of a server error.
        executed: Whether the request is carried out before it fails: the client cannot know.
    """

    kind: FaultKind
    target: Target | None = None
    count: int = 1
    after: int = 0
    seconds: float | None = None
    account: str = ""
    path: str = ""
    status: int = 500
    executed: bool = False

    @property
    def duration_s(self) -> float:
        """`seconds`, or what its kind does without."""
        return _DEFAULT_SECONDS.get(self.kind, 0.0) if self.seconds is None else self.seconds

    @property
    def targets(self) -> tuple[Target, ...]:
        """Where it strikes."""
        if self.target is not None:
            return (self.target,)
        if self.kind in _LASTING_KINDS:
            return _REQUESTS
        return (Target.REST,) if self.kind in REQUEST_KINDS else (Target.USER,)

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            FaultError: It does not.
        """
        possible = _REQUESTS if self.kind in REQUEST_KINDS else _STREAMS
        if self.kind is FaultKind.STREAM_TERMINATED:
            possible = (Target.USER,)
        if self.target is not None and self.target not in possible:
            raise FaultError(f"{self.kind} strikes {' or '.join(possible)}, not {self.target}")
        if self.count < 1 or self.after < 0:
            raise FaultError("count is at least 1, after at least 0")
        if self.kind is FaultKind.CLOCK_JUMP and not self.seconds:
            raise FaultError("a clock jump needs seconds, how far it jumps")
        if self.kind is not FaultKind.CLOCK_JUMP and self.duration_s < 0:
            raise FaultError("seconds cannot be negative")
        if not _LOWEST_SERVER_ERROR <= self.status <= _HIGHEST_SERVER_ERROR:
            raise FaultError("status is 500 to 599")


class Injection(msgspec.Struct, frozen=True):
    """A fault that struck: when, and at what (an account, a path)."""

    number: int
    time_us: int
    kind: FaultKind
    target: str
    at: str


class _Armed:
    """A fault that waits for its messages or requests."""

    def __init__(self, fault: Fault, now_us: int) -> None:
        self.fault = fault
        self.to_pass = fault.after
        self.left = fault.count
        lasting = fault.kind in _LASTING_KINDS
        self.until_us = now_us + round(fault.duration_s * _SECOND_US) if lasting else None

    def is_over(self, now_us: int) -> bool:
        return self.left == 0 if self.until_us is None else now_us >= self.until_us

    def strikes(self) -> bool:
        if self.to_pass:
            self.to_pass -= 1
            return False
        self.left -= self.until_us is None
        return True


class Faults:
    """The faults that are armed, and those that struck.

    Args:
        clock: Wall-clock microseconds.
        seed: Makes choices repeatable.
    """

    def __init__(self, clock: Callable[[], int], seed: int = 0) -> None:
        self.choices = random.Random(seed)  # noqa: S311 - repeatable faults, not cryptography
        self._clock = clock
        self._armed: list[_Armed] = []
        self._injected: list[Injection] = []

    def arm(self, fault: Fault) -> None:
        """Let a fault wait for the messages or requests that it is meant for."""
        self._armed.append(_Armed(fault, self._clock()))

    def disarm(self) -> None:
        """Forget every fault that waits; those that struck stay listed."""
        self._armed.clear()

    def on_message(self, target: Target, account: str = "") -> Fault | None:
        """The fault that strikes a message that is about to be sent."""
        armed = self._find(target, lambda fault: fault.account in {"", account})
        if armed is not None:
            self.note(armed.fault, target, account)
        return armed.fault if armed is not None else None

    def on_request(self, target: Target, path: str) -> tuple[Fault, int] | None:
        """The fault that strikes a request, and the seconds after which to ask again (whole, at least one)."""
        armed = self._find(target, lambda fault: path.startswith(fault.path))
        if armed is None:
            return None
        self.note(armed.fault, target, path)
        left_us = 0 if armed.until_us is None else armed.until_us - self._clock()
        return armed.fault, max(1, -(-left_us // _SECOND_US))

    def note(self, fault: Fault, target: str, at: str) -> None:
        """List a fault that struck."""
        self._injected.append(Injection(len(self._injected) + 1, self._clock(), fault.kind, target, at))

    def view(self) -> dict[str, object]:
        """What waits, and what struck."""
        self._forget_what_is_over()
        return {
            "armed": [{"fault": each.fault, "left": each.left} for each in self._armed],
            "counts": Counter(str(each.kind) for each in self._injected),
            "injected": self._injected,
        }

    def _find(self, target: Target, matches: Callable[[Fault], bool]) -> _Armed | None:
        self._forget_what_is_over()
        for armed in self._armed:
            if target in armed.fault.targets and matches(armed.fault) and armed.strikes():
                return armed
        return None

    def _forget_what_is_over(self) -> None:
        now_us = self._clock()
        self._armed = [each for each in self._armed if not each.is_over(now_us)]
