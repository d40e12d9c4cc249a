"""Is a change unlike the last ones? A bound that one wild value cannot widen.

The median absolute deviation (MAD) of the last changes from their median, times 1.4826, is their standard deviation
where they are normal (Hampel 1974, "The influence curve and its role in robust estimation", JASA 69); half of the
changes may be anything without moving it far.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from portfolio.money import ZERO, exact_arithmetic

CHANGES_MIN: Final = 20
"""Fewer changes say nothing about what is usual."""

CHANGES_KEPT: Final = 60

_MAD_TO_DEVIATION: Final = Decimal("1.4826")
_HALF: Final = Decimal("0.5")


def median(values: Sequence[Decimal]) -> Decimal:
    """The middle value; of two, their mean.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("there are no values")
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    with exact_arithmetic():
        return (ordered[middle - 1] + ordered[middle]) * _HALF


def usual_bound(changes: Sequence[Decimal], deviations: Decimal, least: Decimal) -> Decimal | None:
    """How far a change may be from the median of the last ones to be usual.

    Args:
        changes: The last changes, in any order.
        deviations: How many standard deviations are still usual.
        least: The bound where all changes are alike.

    Returns:
        None while there are fewer than `CHANGES_MIN` changes.
    """
    if len(changes) < CHANGES_MIN:
        return None
    middle = median(changes)
    with exact_arithmetic():
        spread = median([abs(change - middle) for change in changes])
        return max(least, deviations * _MAD_TO_DEVIATION * spread)


def distance(change: Decimal, changes: Sequence[Decimal]) -> Decimal:
    """How far a change is from the median of the last ones."""
    with exact_arithmetic():
        return abs(change - median(changes)) if changes else ZERO
