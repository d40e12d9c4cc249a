"""The performance of the accounts of a view over a period."""

from decimal import Decimal

import msgspec

from infra.postgres.lines import BalanceLine, JournalSum, ValuationLine
from infra.postgres.view import View
from portfolio.money import ZERO, exact_arithmetic
from portfolio.performance import EquityPoint, Performance, measure_performance, period_start_time_us


class Earned(msgspec.Struct, frozen=True, kw_only=True):
    """What one account earned since the last valuation point before a period, or since its beginning."""

    points: list[EquityPoint]
    total: Decimal
    realized: Decimal


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What the accounts of a view, taken as one, went through in a period.

    Attributes:
        points: The opening value, the valuation points, and the value at the newest prices.
        total: Earned in the period, reporting currency.
        realized: The realized part of it.
        start_time_us: When the period began.
        end_time_us: The newest prices in the books, not the clock, so that the same books give the same answer.
    """

    points: list[EquityPoint]
    total: Decimal
    realized: Decimal
    start_time_us: int
    end_time_us: int


async def course_of(view: View, period: str) -> Course:
    """What happened in a period.

    Raises:
        ValueError: The period is not known.
    """
    end_us = view.valued_time_us
    start_us = period_start_time_us(period, end_us)
    equities = _equities(await view.balances())
    earned = [
        await _earned(view, name, start_us=start_us, end_us=end_us, equity=equities.get(name, ZERO))
        for name in view.accounts
    ]
    with exact_arithmetic():
        return Course(
            points=merge_points([one.points for one in earned]),
            total=sum((one.total for one in earned), ZERO),
            realized=sum((one.realized for one in earned), ZERO),
            start_time_us=start_us,
            end_time_us=end_us,
        )


async def performance_of(view: View, period: str) -> Performance:
    """Measure the accounts of a view as one, at their newest prices.

    Raises:
        ValueError: The period is not known.
    """
    course = await course_of(view, period)
    with exact_arithmetic():
        unrealized = course.total - course.realized
    return measure_performance(
        course.points,
        round_trip_pnls=await view.round_trips(start_time_us=course.start_time_us),
        total_pnl=course.total,
        realized_pnl=course.realized,
        unrealized_pnl=unrealized,
        start_time_us=course.start_time_us,
        end_time_us=course.end_time_us,
    )


def merge_points(curves: list[list[EquityPoint]]) -> list[EquityPoint]:
    """Add up several equity curves: at each time, the last equity of each, and the flows of that time."""
    if len(curves) == 1:
        return curves[0]
    changes = sorted(
        ((point, number) for number, curve in enumerate(curves) for point in curve),
        key=lambda change: change[0].time_us,
    )
    equities = [ZERO] * len(curves)
    merged: dict[int, EquityPoint] = {}
    with exact_arithmetic():
        for point, number in changes:
            equities[number] = point.equity
            before = merged.get(point.time_us)
            merged[point.time_us] = EquityPoint(
                time_us=point.time_us,
                equity=sum(equities, ZERO),
                inflow=point.inflow + (before.inflow if before else ZERO),
                outflow=point.outflow + (before.outflow if before else ZERO),
            )
    return list(merged.values())


async def _earned(view: View, account: str, *, start_us: int, end_us: int, equity: Decimal) -> Earned:
    lines = await view.valuations(account, start_time_us=start_us)
    opening = next((line for line in reversed(lines) if line.time_us <= start_us), None)
    since_opening = await view.journal_after(account, 0 if opening is None else opening.sequence)
    since_last = await view.journal_after(account, lines[-1].sequence) if lines else since_opening
    points = [*(_point(line) for line in lines), *_point_now(lines, since_last, end_us, equity)]
    if opening is None and points:
        # The account began within the period, with nothing: what it was paid first is a flow, not an opening value.
        points.insert(0, EquityPoint(time_us=points[0].time_us, equity=ZERO))
    with exact_arithmetic():
        return Earned(
            points=points,
            total=equity - (ZERO if opening is None else opening.equity) - since_opening.flow,
            realized=since_opening.realized,
        )


def _point(line: ValuationLine) -> EquityPoint:
    return EquityPoint(time_us=line.time_us, equity=line.equity, inflow=line.inflow, outflow=line.outflow)


def _point_now(lines: list[ValuationLine], since: JournalSum, end_us: int, equity: Decimal) -> list[EquityPoint]:
    if lines and lines[-1].time_us >= end_us:
        return []
    return [EquityPoint(time_us=end_us, equity=equity, inflow=since.inflow, outflow=since.outflow)]


def _equities(balances: list[BalanceLine]) -> dict[str, Decimal]:
    equities: dict[str, Decimal] = {}
    with exact_arithmetic():
        for line in balances:
            equities[line.account] = equities.get(line.account, ZERO) + line.value
    return equities
