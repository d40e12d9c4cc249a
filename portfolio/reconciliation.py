"""The book against the exchange: is what we say we hold what the exchange says we hold?

A difference is never booked away. It is shown, with the reason where the figures name one.
"""

from collections.abc import Mapping
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
        return tuple(
            Difference(
                asset=asset,
                ledger=_held(book, asset),
                exchange=book.exchange[asset].total,
                difference=gap,
                reason=_reason(asset, gap, gaps, book),
                time_us=book.exchange[asset].time_us,
            )
            for asset, gap in gaps.items()
        )


def _held(book: Book, asset: str) -> Decimal:
    holding = book.holdings.get(asset)
    return ZERO if holding is None else holding.quantity


def _reason(asset: str, gap: Decimal, gaps: Mapping[str, Decimal], book: Book) -> DifferenceReason:
    twin = asset.removeprefix(EARN_PREFIX) if asset.startswith(EARN_PREFIX) else EARN_PREFIX + asset
    if gaps.get(twin) == -gap:
        return DifferenceReason.EARN_LOCK
    if _is_traded(asset, gaps, book):
        return DifferenceReason.MISSING_FILL
    if _is_wiped(gaps, book):
        return DifferenceReason.WIPE
    return DifferenceReason.UNCLASSIFIED_FLOW


def _is_wiped(gaps: Mapping[str, Decimal], book: Book) -> bool:
    """Whether nothing held is as it was, and no trade explains any of it."""
    held = {asset for asset, holding in book.holdings.items() if holding.quantity}
    return len(held) > 1 and held <= gaps.keys() and not any(_is_traded(asset, gaps, book) for asset in gaps)


def _is_traded(asset: str, gaps: Mapping[str, Decimal], book: Book) -> bool:
    """Whether some other asset moved the other way by about the same value."""
    return any(_could_be_a_trade(asset, other, gaps, book) for other in gaps if other != asset)


def _could_be_a_trade(asset: str, other: str, gaps: Mapping[str, Decimal], book: Book) -> bool:
    rate, other_rate = book.rate(asset), book.rate(other)
    gap, other_gap = gaps[asset], gaps[other]
    if rate is None or other_rate is None or (gap > ZERO) == (other_gap > ZERO):
        return False
    value, other_value = abs(gap * rate), abs(other_gap * other_rate)
    return abs(value - other_value) * 20 <= max(value, other_value)
