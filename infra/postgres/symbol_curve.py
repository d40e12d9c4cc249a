"""The PnL of one symbol over time, from the journal and the rates of the valuation points."""

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import asyncpg

from infra.postgres import queries
from infra.postgres.past import Moment, book_at
from infra.postgres.view import View
from portfolio import Book
from portfolio.money import ZERO, exact_arithmetic, ratio

Point = tuple[int, Decimal]
"""A time, epoch microseconds, and the PnL from then on, reporting currency."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What one event changed: the holding, the gain taken, the rate of the asset."""

    sequence: int
    time_us: int
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    rate: Decimal | None = None


async def symbol_curve(view: View, account: str, symbol: str, start_time_us: int) -> list[Point]:
    """The PnL that a symbol had at a time, and at each fill, flow and valuation point after it.

    As in the PnL by symbol, what is unrealized counts while the open position is one that this symbol opened.

    Args:
        view: The moment to end at.
        account: One of its accounts.
        symbol: A symbol that the account has traded.
        start_time_us: Where to begin.
    """
    state = view.accounts[account]
    spans = await view.connection.fetch(queries.SELECT_SPANS, account, symbol, state.sequence)
    if not spans:
        return []
    asset: str = spans[0]["asset"]
    before = await book_at(view.connection, state, Moment(time_us=start_time_us))
    moves = await view.connection.fetch(
        queries.SELECT_SYMBOL_MOVES, account, asset, symbol, before.sequence, state.sequence
    )
    rates = await view.connection.fetch(queries.SELECT_RATES, account, asset, before.sequence, state.sequence)
    rated = [_Step(row["sequence"], row["time_us"], rate=row["rate"]) for row in rates]
    if asset in state.marks:
        rated.append(_Step(state.sequence + 1, state.valued_time_us, rate=state.marks[asset]))
    steps = heapq.merge(map(_moved, moves), rated, key=lambda step: step.sequence)
    with exact_arithmetic():
        return list(_points(_opening(before, asset, symbol, start_time_us), steps, spans))


def _opening(book: Book, asset: str, symbol: str, time_us: int) -> _Step:
    held = book.holdings.get(asset)
    totals = book.symbols.get(symbol)
    return _Step(
        sequence=book.sequence,
        time_us=time_us,
        quantity=ZERO if held is None else held.quantity,
        cost=ZERO if held is None else held.cost,
        realized=ZERO if totals is None else totals.realized,
        rate=book.rate(asset),
    )


def _moved(row: asyncpg.Record) -> _Step:
    return _Step(
        sequence=row["sequence"],
        time_us=row["time_us"],
        quantity=row["quantity"],
        cost=row["cost"],
        realized=row["realized"],
        rate=ratio(row["value"], row["quantity"]) if row["quantity"] and row["value"] else None,
    )


def _points(opening: _Step, steps: Iterable[_Step], spans: Sequence[asyncpg.Record]) -> Iterator[Point]:
    quantity, cost, realized, rate = opening.quantity, opening.cost, opening.realized, opening.rate
    newest_us = opening.time_us
    first = [opening] if opening.quantity or opening.realized else []
    for step in itertools.chain(first, steps):
        if step is not opening:
            quantity, cost, realized = quantity + step.quantity, cost + step.cost, realized + step.realized
            rate = rate if step.rate is None else step.rate
        # The log is in the order in which things were told, which is not quite that in which they happened.
        newest_us = max(newest_us, step.time_us)
        unrealized = ZERO if rate is None or not _is_open(spans, newest_us) else quantity * rate - cost
        yield newest_us, realized + unrealized


def _is_open(spans: Sequence[asyncpg.Record], time_us: int) -> bool:
    return any(
        span["open_time_us"] <= time_us and (span["close_time_us"] is None or time_us < span["close_time_us"])
        for span in spans
    )
