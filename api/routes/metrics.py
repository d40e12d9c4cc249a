"""`/metrics`: what was earned, and at what risk. Several accounts are measured as one."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api import answers, measures, schemas
from api.dependencies import AccountQuery, CallOf, common_reporting
from api.periods import PeriodQuery, require_known
from api.problems import DATA_RESPONSES
from api.routes.portfolio import metrics
from api.tabular import SHAPES, Listed, ShapeOf, shaped
from infra.postgres.comparison import asset_rates, strategy_lines
from infra.postgres.performance import Course, course_of
from infra.postgres.view import View

router = APIRouter(prefix="/metrics", tags=["metrics"], responses=DATA_RESPONSES)

router.add_api_route("/performance", metrics, methods=["GET"], response_model=schemas.Metrics)


@router.get("/drawdowns", response_model=list[schemas.Drawdown], responses=SHAPES)
async def drawdowns(
    call: CallOf, shape: ShapeOf, period: PeriodQuery = "all", account: AccountQuery = None
) -> Listed[schemas.Drawdown]:
    """Every fall of the time-weighted index in a period, the deepest first."""
    async with call.view(account) as view:
        course = await _course(call, view, period)
        return shaped(call, shape, schemas.Drawdown, measures.drawdowns(course))


@router.get("/returns", response_model=list[schemas.BucketReturn], responses=SHAPES)
async def returns(
    call: CallOf,
    shape: ShapeOf,
    bucket: Annotated[Literal["day", "week", "month"], Query(description="Length of a bucket, in UTC.")] = "day",
    period: PeriodQuery = "all",
    account: AccountQuery = None,
) -> Listed[schemas.BucketReturn]:
    """The time-weighted return of each day, week or month, in order of time."""
    async with call.view(account) as view:
        course = await _course(call, view, period)
        return shaped(call, shape, schemas.BucketReturn, measures.returns(course, bucket))


@router.get("/benchmark")
async def benchmark(
    call: CallOf,
    symbol: Annotated[
        str, Query(pattern=r"^[\w.-]{2,40}$", description="A symbol, or an asset.", examples=["BTCUSDT"])
    ] = "BTCUSDT",
    period: PeriodQuery = "all",
    account: AccountQuery = None,
) -> schemas.Benchmark:
    """The accounts beside the same cash flows into one asset.

    The asset's prices are those of the valuation points: of what the accounts held, and of PORTFOLIO_BENCHMARKS.
    """
    async with call.view(account) as view:
        reporting = common_reporting(call.services, view)
        course = await _course(call, view, period)
        asset = measures.asset_of(symbol.upper(), reporting)
        rates = await asset_rates(view, asset)
        return measures.benchmark(course, rates, symbol=symbol.upper(), asset=asset, reporting=reporting)


@router.get("/by-strategy", response_model=list[schemas.StrategyPnl], responses=SHAPES)
async def by_strategy(call: CallOf, shape: ShapeOf, account: AccountQuery = None) -> Listed[schemas.StrategyPnl]:
    """What the fills of each strategy have realized, best first."""
    async with call.view(account, depends_on="rows") as view:
        reporting = common_reporting(call.services, view)
        lines = await strategy_lines(view)
        call.tag(reporting, *lines)
        rows = [answers.strategy(line, reporting) for line in lines]
        return shaped(call, shape, schemas.StrategyPnl, rows)


async def _course(call: CallOf, view: View, period: str) -> Course:
    require_known(period)
    common_reporting(call.services, view)
    return await course_of(view, period)
