"""What goes wrong, and when: drawn from a seed, so that a run can be had again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SESSION_TIMEOUT_S = 6.0
"""After this silence a worker's partitions move to another one (`broker_session_timeout` of the application)."""

DISK = "disk"
"""The disk that all parts of the service have their data on."""
EXCHANGE = "exchange"

_GAP_S = (1.0, 8.0)
_LASTS_S = (SESSION_TIMEOUT_S + 1.0, SESSION_TIMEOUT_S + 4.0)
_CLOCK_JUMPS_S = (-4.0, 3.0, 12.0)
_SERVERS = ("kafka", "postgres", "redis", EXCHANGE)


class FaultKind(StrEnum):
    """What happens to a part."""

    KILL = "kill"
    """SIGKILL; the supervisor starts it again."""
    HANG = "hang"
    """SIGSTOP for longer than the session timeout, then SIGCONT."""
    WIPE = "wipe"
    """SIGKILL of a worker, and its tables on disk deleted."""
    LEAVE = "leave"
    """A worker is stopped as an operator would, and started again later."""
    JOIN = "join"
    """One more worker is started, and stopped later."""
    DISCONNECT = "disconnect"
    """The exchange closes every user data stream."""
    SILENCE = "silence"
    """The exchange's user data streams stay open, but nothing comes any more."""
    CLOCK_JUMP = "clock-jump"
    """The exchange's clock jumps against that of this machine, and later back."""
    FULL_DISK = "full-disk"
    """Nothing more can be written to the disk of all parts; later there is room again."""


LASTING = frozenset({FaultKind.HANG, FaultKind.LEAVE, FaultKind.JOIN, FaultKind.CLOCK_JUMP, FaultKind.FULL_DISK})
"""What is taken back after a time."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault.

    Attributes:
        kind: What happens.
        target: Name of the part that it happens to.
        at_s: Seconds after trading began.
        for_s: Seconds until it is taken back; 0 for what cannot be.
        jump_s: How far a clock jumps; 0 for everything else.
    """

    kind: FaultKind
    target: str
    at_s: float
    for_s: float = 0.0
    jump_s: float = 0.0


def plan_faults(seed: int, count: int, workers: Sequence[str], spare: str) -> list[PlannedFault]:
    """Draw faults, in order of time.

    They are dealt from a shuffled deck of all that can go wrong, so nothing happens twice before everything has
    happened once. Faults of different parts may overlap.

    Args:
        seed: The same seed gives the same plan.
        count: How many.
        workers: Names of the workers.
        spare: Name of the worker that joins and leaves again.
    """
    dice = random.Random(seed)  # noqa: S311 - repeatable, no secret
    deck: list[tuple[FaultKind, str]] = []
    at_s = 0.0
    planned = []
    for _ in range(count):
        if not deck:
            deck = _all_that_can_go_wrong(workers, spare)
            dice.shuffle(deck)
        kind, target = deck.pop()
        at_s += dice.uniform(*_GAP_S)
        for_s = dice.uniform(*_LASTS_S) if kind in LASTING else 0.0
        jump_s = dice.choice(_CLOCK_JUMPS_S) if kind is FaultKind.CLOCK_JUMP else 0.0
        planned.append(PlannedFault(kind, target, at_s, for_s, jump_s))
    return planned


def _all_that_can_go_wrong(workers: Sequence[str], spare: str) -> list[tuple[FaultKind, str]]:
    parts = (*workers, "gateway", *_SERVERS)
    return [
        *((kind, part) for part in parts for kind in (FaultKind.KILL, FaultKind.HANG)),
        *((kind, worker) for worker in workers for kind in (FaultKind.WIPE, FaultKind.LEAVE)),
        (FaultKind.JOIN, spare),
        *((kind, EXCHANGE) for kind in (FaultKind.DISCONNECT, FaultKind.SILENCE, FaultKind.CLOCK_JUMP)),
        (FaultKind.FULL_DISK, DISK),
    ]
