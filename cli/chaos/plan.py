"""What goes wrong, and when: drawn from a seed, so that a run can be had again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SESSION_TIMEOUT_S = 6.0
"""After this silence a worker's partitions move to another one (`broker_session_timeout` of the application)."""

_GAP_S = (0.5, 5.0)
_HANG_S = (SESSION_TIMEOUT_S + 1.0, SESSION_TIMEOUT_S + 4.0)


class FaultKind(StrEnum):
    """What happens to a part."""

    KILL = "kill"
    """SIGKILL; the supervisor starts it again."""
    HANG = "hang"
    """SIGSTOP for longer than the session timeout, then SIGCONT."""
    WIPE = "wipe"
    """SIGKILL of a worker, and its tables on disk deleted."""
    DISCONNECT = "disconnect"
    """The exchange closes every user data stream."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault.

    Attributes:
        kind: What happens.
        target: Name of the part that it happens to.
        at_s: Seconds after trading began.
        for_s: Seconds until it is taken back; 0 for what cannot be.
    """

    kind: FaultKind
    target: str
    at_s: float
    for_s: float = 0.0


def plan_faults(seed: int, count: int, workers: Sequence[str]) -> list[PlannedFault]:
    """Draw faults, in order of time.

    They are dealt from a shuffled deck of all that can go wrong, so nothing happens twice before everything has
    happened once. Faults may overlap.

    Args:
        seed: The same seed gives the same plan.
        count: How many.
        workers: Names of the workers.
    """
    dice = random.Random(seed)  # noqa: S311 - repeatable, no secret
    deck: list[tuple[FaultKind, str]] = []
    at_s = 0.0
    planned = []
    for _ in range(count):
        if not deck:
            deck = _all_that_can_go_wrong(workers)
            dice.shuffle(deck)
        kind, target = deck.pop()
        at_s += dice.uniform(*_GAP_S)
        for_s = dice.uniform(*_HANG_S) if kind is FaultKind.HANG else 0.0
        planned.append(PlannedFault(kind, target, at_s, for_s))
    return planned


def _all_that_can_go_wrong(workers: Sequence[str]) -> list[tuple[FaultKind, str]]:
    parts = [*workers, "gateway", "kafka", "postgres", "redis"]
    return [
        *((kind, part) for part in parts for kind in (FaultKind.KILL, FaultKind.HANG)),
        *((FaultKind.WIPE, worker) for worker in workers),
        (FaultKind.DISCONNECT, "exchange"),
    ]
