"""`/portfolio`, over time: the equity curve, and candles of the equity and of the PnL of a symbol."""

from collections import defaultdict
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query

from api import schemas
from api.dependencies import AccountQuery, Call, CallOf, SymbolPath, common_reporting
from api.measures import candles_of, summed
from api.periods import PeriodQuery, require_known
from api.problems import DATA_RESPONSES, ProblemError
from api.tabular import SHAPES, Listed, ShapeOf, shaped
from infra.postgres.symbol_curve import Point, symbol_curve
from infra.postgres.view import View
from portfolio.money import ZERO, exact_arithmetic
from portfolio.performance import CANDLES_MAX, TIMEFRAMES_US, period_start_time_us

router = APIRouter(prefix="/portfolio", tags=["portfolio"], responses=DATA_RESPONSES)

Timeframe = Literal["1m", "5m", "15m", "1h", "4h", "1d"]

_POINTS_MAX: Final = 2_000


@router.get("/equity", response_model=list[schemas.EquityPoint], responses=SHAPES)
async def equity(
    call: CallOf,
    shape: ShapeOf,
    *,
    period: PeriodQuery = "24h",
    points: Annotated[int, Query(ge=2, le=_POINTS_MAX, description="At most about this many.")] = 300,
    timeframe: Annotated[
        Timeframe | None, Query(description="Instead of `points`: one at the end of each of these.")
    ] = None,
    account: AccountQuery = None,
) -> Listed[schemas.EquityPoint]:
    """The equity curve, in order of time; its last point is at the newest prices."""
    require_known(period)
    async with call.view(account, depends_on="rows") as view:
        curve = await _equity_curve(call, view, period, points if timeframe is None else CANDLES_MAX)
        call.tag(*curve)
        told = [schemas.EquityPoint(time=time_us, equity=value) for time_us, value in _spaced(curve, timeframe)]
        return shaped(call, shape, schemas.EquityPoint, told)


@router.get("/equity/candles", response_model=list[schemas.Candle], responses=SHAPES)
async def equity_candles(
    call: CallOf,
    shape: ShapeOf,
    timeframe: Annotated[Timeframe, Query(description="Length of a candle, in UTC.")] = "1h",
    period: PeriodQuery = "7d",
    account: AccountQuery = None,
) -> Listed[schemas.Candle]:
    """Candles of the equity, in order of time."""
    require_known(period)
    async with call.view(account, depends_on="rows") as view:
        curve = await _equity_curve(call, view, period, CANDLES_MAX)
        call.tag(*curve)
        return shaped(call, shape, schemas.Candle, candles_of(curve, timeframe))


@router.get("/positions/{symbol}/candles", response_model=list[schemas.Candle], responses=SHAPES)
async def symbol_candles(
    call: CallOf,
    shape: ShapeOf,
    symbol: SymbolPath,
    *,
    timeframe: Annotated[Timeframe, Query(description="Length of a candle, in UTC.")] = "1h",
    period: PeriodQuery = "7d",
    account: AccountQuery = None,
) -> Listed[schemas.Candle]:
    """Candles of what a symbol has earned: realized, and unrealized of the position that it opened.

    The points are the fills, the flows and the valuation points, and the newest prices.
    """
    require_known(period)
    wanted = symbol.upper()
    async with call.view(account) as view:
        common_reporting(call.services, view)
        start_us = period_start_time_us(period, view.valued_time_us)
        curves = [await symbol_curve(view, name, wanted, start_us) for name in view.accounts]
        if not any(curves):
            raise ProblemError(
                HTTPStatus.NOT_FOUND, f"{wanted} has opened no position in this period; choose a longer one."
            )
        return shaped(call, shape, schemas.Candle, candles_of(summed(curves), timeframe))


async def _equity_curve(call: Call, view: View, period: str, points: int) -> list[Point]:
    common_reporting(call.services, view)
    start_us = period_start_time_us(period, view.valued_time_us)
    curves: dict[str, list[Point]] = defaultdict(list)
    for line in await view.equity(start_time_us=start_us, points_max=points):
        curves[line.account].append((line.time_us, line.equity))
    curve = dict(summed(curves.values()))
    if view.accounts:
        with exact_arithmetic():
            curve[view.valued_time_us] = sum((line.value for line in await view.balances()), ZERO)
    return sorted(curve.items())


def _spaced(curve: list[Point], timeframe: Timeframe | None) -> list[Point]:
    """The values at the end of each bucket, the last one at the last point."""
    if timeframe is None or not curve:
        return curve
    length_us = TIMEFRAMES_US[timeframe]
    last_us = curve[-1][0]
    return [(min(candle.time + length_us, last_us), candle.close) for candle in candles_of(curve, timeframe)]
