"""Plans of faults: which fault at what time, written down or drawn by seed."""

import random
from pathlib import Path

import msgspec

from infra.exchange.faults import MESSAGE_KINDS, REQUEST_KINDS, Fault, FaultError, FaultKind, Target

# A wipe changes the books and is only done when asked for.
_DRAWN_KINDS = tuple(kind for kind in FaultKind if kind is not FaultKind.WIPE)
_LONGEST_S = 1.5


class PlannedFault(Fault, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A fault and its time, in seconds from the start of the plan."""

    at_s: float


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Faults in time: those listed, and `count` drawn by `seed` over `seconds`.

    Attributes:
        faults: Written down.
        seed: Draws the others; the same seed, count, seconds and kinds give the same faults.
        count: How many are drawn.
        seconds: Over how long they are spread.
        kinds: From which; empty for all but `wipe`.
    """

    faults: tuple[PlannedFault, ...] = ()
    seed: int = 0
    count: int = 0
    seconds: float = 60.0
    kinds: tuple[FaultKind, ...] = ()

    def schedule(self) -> list[PlannedFault]:
        """All faults, in order of time.

        Raises:
            FaultError: One makes no sense.
        """
        planned = sorted((*self.faults, *self._drawn()), key=lambda fault: fault.at_s)
        for fault in planned:
            fault.check()
        return planned

    def _drawn(self) -> list[PlannedFault]:
        choices = random.Random(self.seed)  # noqa: S311 - repeatable faults, not cryptography
        kinds = self.kinds or _DRAWN_KINDS
        # Each kind in turn, so that a plan as long as the list of kinds has every one of them.
        return [_draw(choices, kinds[number % len(kinds)], self.seconds) for number in range(self.count)]


def _draw(choices: random.Random, kind: FaultKind, within_s: float) -> PlannedFault:
    drawn_s = round(choices.uniform(0.1, _LONGEST_S), 3)
    seconds: float | None = drawn_s
    if kind is FaultKind.CLOCK_JUMP:
        seconds = choices.choice([-4.0, 3.0, 12.0])
    if kind is FaultKind.SILENCE and drawn_s > _LONGEST_S / 2:
        seconds = None  # for ever, about as often as for a moment
    target = None
    if kind in MESSAGE_KINDS:
        target = choices.choice([Target.USER, Target.MARKET])
    elif kind in REQUEST_KINDS:
        target = choices.choice([Target.REST, Target.WEBSOCKET_API])
    return PlannedFault(
        kind=kind,
        target=target,
        count=choices.randint(1, 3),
        seconds=seconds,
        status=choices.choice([500, 502, 503, 504]),
        executed=choices.random() < 0.5,  # noqa: PLR2004 - either outcome is as likely
        at_s=round(choices.uniform(0, within_s), 3),
    )


def read_plan(text: bytes) -> FaultPlan:
    """Read a plan from JSON.

    Raises:
        FaultError: It is none, or a fault in it makes no sense.
    """
    try:
        plan = msgspec.json.decode(text, type=FaultPlan)
    except msgspec.MsgspecError as error:
        raise FaultError(f"not a plan of faults: {error}") from None
    plan.schedule()
    return plan


def load_plan(path: Path) -> FaultPlan:
    """Read a plan from a file.

    Raises:
        FaultError: The file cannot be read or holds no plan.
    """
    try:
        return read_plan(path.read_bytes())
    except OSError as error:
        raise FaultError(f"{path} cannot be read: {error.strerror}") from None
    except FaultError as error:
        raise FaultError(f"{path}: {error}") from None
