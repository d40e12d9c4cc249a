"""The book against the exchange: is what we say we hold what the exchange says we hold?

A difference is never booked away. It is shown, with the reason where the figures name one.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import StrEnum

import msgspec

from portfolio.book import Book
from portfolio.money import ZERO, exact_arithmetic

EARN_PREFIX = "LD"
"""Binance shows what is locked in Simple Earn as an asset of its own: LDBTC stands for BTC."""


class DifferenceReason(StrEnum):
    """What a difference looks like."""

    EARN_LOCK = "earn_lock"
    """The same quantity moved between an asset and its Earn twin."""
    WIPE = "wipe"
    """Nothing that the ledger holds is as it was at the exchange, and no trade explains it: a testnet was reset."""
    MISSING_FILL = "missing_fill"
    """One asset is over and another is under, by about the same value: a trade the log has not seen."""
    UNCLASSIFIED_FLOW = "unclassified_flow"
    """One asset moved alone: a deposit, a withdrawal or a transfer the log has not seen."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One asset on which ledger and exchange disagree."""

    asset: str
    ledger: Decimal
    exchange: Decimal
    difference: Decimal
    """Exchange less ledger."""
    reason: DifferenceReason
    time_us: int
    """When the exchange's figure was true."""


def reconcile(book: Book) -> tuple[Difference, ...]:
    """Compare every asset of which the exchange has told its balance.

    Returns:
        The differences; empty when the ledger and the exchange agree to the last digit.
    """
    with exact_arithmetic():
        gaps: dict[str, Decimal] = {}
        for asset, balance in book.exchange.items():
            gap = balance.total - _held(book, asset)
            if gap:
                gaps[asset] = gap
        traded = _traded(gaps, book)
        is_wiped = not traded and _is_all_gone(gaps, book)
        return tuple(
            Difference(
                asset=asset,
                ledger=_held(book, asset),
                exchange=book.exchange[asset].total,
                difference=gap,
                reason=_reason(asset, gaps, traded, is_wiped=is_wiped),
                time_us=book.exchange[asset].time_us,
            )
            for asset, gap in gaps.items()
        )


def _held(book: Book, asset: str) -> Decimal:
    holding = book.holdings.get(asset)
    return ZERO if holding is None else holding.quantity


def _reason(asset: str, gaps: Mapping[str, Decimal], traded: AbstractSet[str], *, is_wiped: bool) -> DifferenceReason:
    twin = asset.removeprefix(EARN_PREFIX) if asset.startswith(EARN_PREFIX) else EARN_PREFIX + asset
    if gaps.get(twin) == -gaps[asset]:
        return DifferenceReason.EARN_LOCK
    if asset in traded:
        return DifferenceReason.MISSING_FILL
    if is_wiped:
        return DifferenceReason.WIPE
    return DifferenceReason.UNCLASSIFIED_FLOW


def _is_all_gone(gaps: Mapping[str, Decimal], book: Book) -> bool:
    """Whether nothing held is as it was."""
    held = {asset for asset, holding in book.holdings.items() if holding.quantity}
    return len(held) > 1 and held <= gaps.keys()


def _traded(gaps: Mapping[str, Decimal], book: Book) -> set[str]:
    """The assets of which some other asset moved the other way by about the same value: within a twentieth.

    In sorted order the nearest value is enough, so that a report of very many assets does not stop a worker.
    """
    values = {asset: gap * rate for asset, gap in gaps.items() if (rate := book.rate(asset)) is not None}
    ways = {asset: gaps[asset] > ZERO for asset in values}
    sizes = {way: sorted(abs(values[asset]) for asset in values if ways[asset] is way) for way in (True, False)}
    return {asset for asset, value in values.items() if _has_about(abs(value), sizes[not ways[asset]])}


def _has_about(value: Decimal, values: Sequence[Decimal]) -> bool:
    """Whether one of the values, in ascending order, differs from `value` by a twentieth of the larger or less."""
    place = bisect_left(values, value * 19, key=lambda other: other * 20)
    return place < len(values) and values[place] * 19 <= value * 20
