"""Why did a balance change? Flows of the log against rows of the exchange's histories. Pure and deterministic.

The stream tells of a flow without a reason, the histories of reasons without the moment at which the balance changed.
They are matched by asset and amount, then by time. Where several would do, the order of times and ids decides, so
that the same flows and rows always give the same answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import combinations
from math import comb
from typing import NamedTuple

from infra.binance.history_rows import Movement
from portfolio.money import ZERO, exact_arithmetic

DIFFERENCE_PREFIX = "difference:"
"""How the ids of flows begin that were found as a difference of balances."""

_NEAR_US = 2_000_000
_FAR_US = 3_600_000_000
_DIFFERENCE_AGE_MAX_US = 30 * 86_400_000_000
_CHOICES_MAX = 20_000


class Unclassified(NamedTuple):
    """A flow of the log whose kind is not known."""

    id: str
    time_us: int
    asset: str
    quantity: Decimal

    @property
    def is_difference(self) -> bool:
        """Whether it was found as a difference of balances: when exactly it happened is not known."""
        return self.id.startswith(DIFFERENCE_PREFIX)


class Match(NamedTuple):
    """A flow, and a movement that it is, or that is part of it."""

    flow: Unclassified
    movement: Movement


def match_flows(flows: Iterable[Unclassified], movements: Iterable[Movement]) -> list[Match]:
    """Find the movements that flows are.

    First one flow is one movement: within two seconds, then within an hour (a history may give the time of another
    step than the one that changed the balance). What is left may be several movements of one kind at once.

    Args:
        flows: Flows without a kind.
        movements: What the histories tell and no flow has been told to be.

    Returns:
        The matches; a movement is in one of them at most, a flow in several when it is their sum.
    """
    ordered = sorted(flows, key=lambda flow: (flow.time_us, flow.id))
    unused = sorted(movements, key=lambda movement: (movement.latest_us, movement.earliest_us, movement.id))
    told = [flow for flow in ordered if not flow.is_difference]
    matches: list[Match] = []
    # What the stream told of comes first: when a difference arose is not known, so it must not take what fits better.
    for waiting, tolerance_us in ((told, _NEAR_US), (told, _FAR_US), (ordered, _FAR_US)):
        matched = {match.flow.id for match in matches}
        found = _match_one_to_one([flow for flow in waiting if flow.id not in matched], unused, tolerance_us)
        unused = _without(unused, found)
        matches += found
    matched = {match.flow.id for match in matches}
    for flow in ordered:
        if flow.id not in matched:
            parts = [Match(flow, movement) for movement in _parts(flow, unused)]
            unused = _without(unused, parts)
            matches += parts
    return matches


def explain(gap: Decimal, likely: Sequence[Movement], possible: Sequence[Movement]) -> list[Movement] | None:
    """Choose the movements of one asset that make up a difference of its balance.

    The balance decides, because a history also tells of what did not touch the spot wallet (a conversion paid from
    another wallet), and may tell late. The choice with the fewest surprises wins: a likely movement that is left out,
    or one that is only possible and taken.

    Args:
        gap: What the exchange has more of than the log explains.
        likely: Movements of the time that the log does not cover.
        possible: Movements of before.

    Returns:
        The movements chosen, by time; None where no choice adds up (or too many would have to be tried).
    """
    ordered = sorted([*likely, *possible], key=lambda movement: (movement.time_us, movement.id))
    expected = {movement.id for movement in likely}
    with exact_arithmetic():
        short = gap - sum((movement.quantity for movement in likely), ZERO)
        changes = [-each.quantity if each.id in expected else each.quantity for each in ordered]
        tried = 0
        for surprises in range(len(ordered) + 1):
            tried += comb(len(ordered), surprises)
            if tried > _CHOICES_MAX:
                return None
            for chosen in combinations(range(len(ordered)), surprises):
                if sum((changes[place] for place in chosen), ZERO) == short:
                    flipped = {ordered[place].id for place in chosen}
                    return [each for each in ordered if (each.id in expected) != (each.id in flipped)]
    return None


def _match_one_to_one(flows: Sequence[Unclassified], movements: Sequence[Movement], tolerance_us: int) -> list[Match]:
    """Each flow, by time, takes the movement that is the first to become too old: so as many as can be are matched."""
    by_amount: dict[tuple[str, Decimal], list[Movement]] = defaultdict(list)
    for movement in movements:
        by_amount[movement.asset, movement.quantity].append(movement)
    matches = []
    for flow in flows:
        same = by_amount[flow.asset, flow.quantity]
        found = next((each for each in same if _could_be(flow, each, tolerance_us)), None)
        if found is not None:
            same.remove(found)
            matches.append(Match(flow, found))
    return matches


def _could_be(flow: Unclassified, movement: Movement, tolerance_us: int) -> bool:
    if flow.is_difference:
        is_recent = movement.latest_us >= flow.time_us - _DIFFERENCE_AGE_MAX_US
        return is_recent and movement.earliest_us <= flow.time_us + _NEAR_US
    return movement.earliest_us - tolerance_us <= flow.time_us <= movement.latest_us + tolerance_us


def _without(movements: Iterable[Movement], matches: Iterable[Match]) -> list[Movement]:
    used = {match.movement.id for match in matches}
    return [movement for movement in movements if movement.id not in used]


def _parts(flow: Unclassified, movements: Iterable[Movement]) -> list[Movement]:
    """Movements of one operation, or else of one kind, that are this flow together."""
    near = [each for each in movements if each.asset == flow.asset and _could_be(flow, each, _NEAR_US)]
    for name in ("operation", "kind"):
        groups: dict[str, list[Movement]] = defaultdict(list)
        for movement in near:
            groups[getattr(movement, name)].append(movement)
        for group in groups.values():
            with exact_arithmetic():
                total = sum((movement.quantity for movement in group), ZERO)
            if total == flow.quantity:
                return group
    return []
