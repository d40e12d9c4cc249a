"""Lots: which acquisition each disposal used up, under a chosen method.

The stream keeps a weighted average, so that its state stays small. Tax and audit reports want lots: they are computed
here, after the fact, from the journal's postings. Every part of a lot that is disposed of makes one `Gain`.
"""

import heapq
from collections.abc import Iterable, Iterator
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from portfolio.events import Flow
from portfolio.journal import Booked, Entry, EntryKind
from portfolio.money import ZERO, exact_arithmetic, ratio, share


class LotMethod(StrEnum):
    """The order in which lots are used up."""

    FIFO = "fifo"
    """Oldest first."""
    LIFO = "lifo"
    """Newest first."""
    HIFO = "hifo"
    """Highest cost a unit first; of equals, the oldest."""
    AVERAGE = "average"
    """One pool at its weighted average cost; dates are those of the oldest part of the pool."""


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of one acquisition."""

    time_us: int
    quantity: Decimal
    cost: Decimal
    """Cost of what is left, reporting currency."""
    is_missing: bool = False
    """Nothing explains it: it was costed at the market when it was disposed of."""


class Gain(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a lot that was disposed of. Money in the reporting currency."""

    asset: str
    quantity: Decimal
    acquired_time_us: int | None
    """None where there was no lot left to use up."""
    disposed_time_us: int
    cost: Decimal
    proceeds: Decimal
    gain: Decimal
    symbol: str
    kind: str
    """What disposed of it: a fill, a fee, or the kind of a flow."""
    is_missing: bool
    """The acquisition is unknown: the cost is the market value at disposal, or zero without any lot."""


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """An asset that came in (positive quantity) or went out, at its market value (never negative)."""

    time_us: int
    asset: str
    quantity: Decimal
    value: Decimal
    symbol: str
    kind: str
    is_missing: bool = False


def movements(booked: Iterable[Booked], reporting: str) -> Iterator[Movement]:
    """The movements of every asset but the reporting currency, in the order of the journal."""
    for item in booked:
        flow_kind = item.event.kind.value if isinstance(item.event, Flow) else None
        for entry in item.entries:
            yield from entry_movements(entry, time_us=item.event.time_us, flow_kind=flow_kind, reporting=reporting)


def entry_movements(entry: Entry, *, time_us: int, flow_kind: str | None, reporting: str) -> Iterator[Movement]:
    """The movements of one journal entry.

    Args:
        entry: The entry.
        time_us: When its event happened.
        flow_kind: The kind of the flow that it books, if it does.
        reporting: The reporting currency, whose movements gain nothing and are left out.
    """
    for index, posting in enumerate(entry.postings):
        if posting.asset == reporting or not posting.quantity:
            continue
        yield Movement(
            time_us=time_us,
            asset=posting.asset,
            quantity=posting.quantity,
            value=abs(posting.value),
            symbol=entry.symbol,
            kind=_kind(entry.kind, flow_kind, index),
            is_missing=entry.kind is EntryKind.OPENING,
        )


def _kind(entry: EntryKind, flow_kind: str | None, index: int) -> str:
    if entry is EntryKind.FILL:
        # A fill posts what went out, what came in, and then the fee.
        return "fee" if index > 1 else "fill"
    return flow_kind if entry is EntryKind.FLOW and flow_kind else entry.value


def realized_gains(moves: Iterable[Movement], method: LotMethod) -> Iterator[Gain]:
    """Match disposals with acquisitions.

    Args:
        moves: Movements in the order of the journal.
        method: Which lot is used up first.

    Yields:
        A gain for each lot, or part of one, that a disposal used up, in the order of disposal.
    """
    pools: dict[str, Pool] = {}
    for move in moves:
        pool = pools.setdefault(move.asset, Pool(method))
        if move.quantity > ZERO:
            pool.add(_acquired(move))
        else:
            yield from _gains(move, pool.take(-move.quantity))


def remaining_lots(moves: Iterable[Movement], method: LotMethod) -> dict[str, tuple[Lot, ...]]:
    """What is left of every lot after all movements, by asset, in the order of acquisition."""
    pools: dict[str, Pool] = {}
    for move in moves:
        pool = pools.setdefault(move.asset, Pool(method))
        if move.quantity > ZERO:
            pool.add(_acquired(move))
        else:
            pool.take(-move.quantity)
    return {asset: pool.lots for asset, pool in pools.items()}


class Pool:
    """The lots of one asset, used up in the order of a method."""

    def __init__(self, method: LotMethod) -> None:
        self._method = method
        self._heap: list[tuple[Decimal, int, Lot]] = []
        self._added = 0

    @property
    def lots(self) -> tuple[Lot, ...]:
        """What is left, in the order of acquisition."""
        return tuple(lot for _, _, lot in sorted(self._heap, key=lambda item: abs(item[1])))

    def add(self, lot: Lot) -> None:
        """Put a lot, or the unused part of one, into the pool."""
        self._added += 1
        if self._method is LotMethod.AVERAGE and self._heap:
            rank, order, pooled = self._heap[0]
            self._heap[0] = (rank, order, _merged(pooled, lot))
            return
        rank = ratio(-lot.cost, lot.quantity) if self._method is LotMethod.HIFO else ZERO
        order = -self._added if self._method is LotMethod.LIFO else self._added
        heapq.heappush(self._heap, (rank, order, lot))

    def take(self, quantity: Decimal) -> tuple[Lot, ...]:
        """Use up lots; what they hold less than `quantity` is missing, and the caller sees it in the sum."""
        taken = []
        with exact_arithmetic():
            while quantity > ZERO and self._heap:
                rank, order, lot = self._heap[0]
                if lot.quantity <= quantity:
                    heapq.heappop(self._heap)
                    part = lot
                else:
                    part, rest = _split(lot, quantity)
                    self._heap[0] = (rank, order, rest)
                taken.append(part)
                quantity -= part.quantity
        return tuple(taken)


def _acquired(move: Movement) -> Lot:
    return Lot(time_us=move.time_us, quantity=move.quantity, cost=move.value, is_missing=move.is_missing)


def _merged(pooled: Lot, lot: Lot) -> Lot:
    with exact_arithmetic():
        return Lot(
            time_us=pooled.time_us,
            quantity=pooled.quantity + lot.quantity,
            cost=pooled.cost + lot.cost,
            is_missing=pooled.is_missing or lot.is_missing,
        )


def _split(lot: Lot, quantity: Decimal) -> tuple[Lot, Lot]:
    cost = share(lot.cost, quantity, lot.quantity)
    return (
        replace(lot, quantity=quantity, cost=cost),
        replace(lot, quantity=lot.quantity - quantity, cost=lot.cost - cost),
    )


def _gains(move: Movement, lots: tuple[Lot, ...]) -> Iterator[Gain]:
    disposed = -move.quantity
    with exact_arithmetic():
        missing = disposed - sum((lot.quantity for lot in lots), ZERO)
        parts: list[Lot | None] = [*lots, None] if missing else [*lots]
        proceeds_left = move.value
        gains = []
        for index, lot in enumerate(parts):
            quantity = missing if lot is None else lot.quantity
            is_last = index == len(parts) - 1
            proceeds = proceeds_left if is_last else share(move.value, quantity, disposed)
            proceeds_left -= proceeds
            gains.append(_gain(move, lot, quantity, proceeds))
    yield from gains


def _gain(move: Movement, lot: Lot | None, quantity: Decimal, proceeds: Decimal) -> Gain:
    cost = ZERO if lot is None else lot.cost
    return Gain(
        asset=move.asset,
        quantity=quantity,
        acquired_time_us=None if lot is None else lot.time_us,
        disposed_time_us=move.time_us,
        cost=cost,
        proceeds=proceeds,
        gain=proceeds - cost,
        symbol=move.symbol,
        kind=move.kind,
        is_missing=lot is None or lot.is_missing,
    )
