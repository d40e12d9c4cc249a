"""`/portfolio`: what the accounts hold, what it cost and what it earned."""

from http import HTTPStatus
from typing import Annotated, Final, Literal

import msgspec
from fastapi import APIRouter, Query

from api import answers, schemas
from api.cursors import CursorQuery, offer_next, place_of
from api.dependencies import (
    LIMIT_MAX,
    AccountQuery,
    CallOf,
    Services,
    SymbolPath,
    SymbolQuery,
    common_reporting,
)
from api.periods import PeriodQuery, require_known
from api.problems import DATA_RESPONSES, ProblemError
from api.tabular import SHAPES, Listed, ShapeOf, shaped
from infra.postgres.lines import SymbolLine
from infra.postgres.pages import EventKey, PositionKey
from infra.postgres.performance import performance_of
from infra.postgres.view import View, books_version
from infra.telemetry.metrics import API_CACHE
from portfolio.performance import Performance

router = APIRouter(prefix="/portfolio", tags=["portfolio"], responses=DATA_RESPONSES)

_CACHE_SECONDS: Final = 60
_CLOSED_SHOWN: Final = 20
_performance = msgspec.json.Encoder(decimal_format="string")
_performance_decoder: Final = msgspec.json.Decoder(Performance)


@router.get("/overview")
async def overview(call: CallOf, account: AccountQuery = None) -> schemas.Overview:
    """Equity, PnL and balances, all of one moment. Several accounts are added up."""
    async with call.view(account) as view:
        return answers.overview(
            list(view.accounts.values()),
            await view.balances(),
            reporting=common_reporting(call.services, view),
            active_positions=await view.count_open_positions(),
            warnings=await view.count_warnings(),
        )


@router.get("/balances", response_model=list[schemas.Balance], responses=SHAPES)
async def balances(call: CallOf, shape: ShapeOf, account: AccountQuery = None) -> Listed[schemas.Balance]:
    """Every asset that the ledger or the exchange holds, most valuable first; a row for each account and asset."""
    async with call.view(account) as view:
        return shaped(call, shape, schemas.Balance, [answers.balance(line) for line in await view.balances()])


@router.get("/positions", response_model=list[schemas.Position], responses=SHAPES)
async def positions(
    call: CallOf,
    shape: ShapeOf,
    *,
    status: Annotated[Literal["open", "closed", "all"], Query(description="Which positions.")] = "all",
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="At most this many.")] = 50,
    symbol: SymbolQuery = None,
    cursor: CursorQuery = None,
    account: AccountQuery = None,
) -> Listed[schemas.Position]:
    """Positions, newest first: an open one by when it opened, a closed one by when it closed."""
    after = place_of(call, cursor, PositionKey)
    async with call.view(account) as view:
        page = await view.positions(status, symbol=_upper(symbol), limit=limit, after=after)
        offer_next(call, page.last)
        return shaped(call, shape, schemas.Position, [answers.position(line) for line in page.lines])


@router.get("/positions/{symbol}")
async def position(call: CallOf, symbol: SymbolPath, account: AccountQuery = None) -> schemas.SymbolPosition:
    """One symbol: its open positions, the last ones that closed, and what it has earned over all accounts."""
    wanted = symbol.upper()
    async with call.view(account) as view:
        reporting = common_reporting(call.services, view)
        line = next((line for line in await view.symbols() if line.symbol == wanted), None)
        opened = await view.positions("open", symbol=wanted, limit=LIMIT_MAX)
        closed = await view.positions("closed", symbol=wanted, limit=_CLOSED_SHOWN)
        if line is None and not opened.lines and not closed.lines:
            raise ProblemError(
                HTTPStatus.NOT_FOUND, f"{wanted} was never traded; /portfolio/pnl-by-symbol lists what was."
            )
        return schemas.SymbolPosition(
            symbol=wanted,
            earned=answers.symbol_pnl(line or SymbolLine.nothing(wanted), reporting),
            open_positions=[answers.position(line) for line in opened.lines],
            closed_positions=[answers.position(line) for line in closed.lines],
        )


@router.get("/metrics")
async def metrics(call: CallOf, period: PeriodQuery = "7d", account: AccountQuery = None) -> schemas.Metrics:
    """Performance over a period that ends at the newest prices in the books. Several accounts are measured as one."""
    require_known(period)
    async with call.view(account) as view:
        return answers.metrics(
            list(view.accounts.values()),
            await _performance_cached(call.services, view, period),
            reporting=common_reporting(call.services, view),
            period=period,
        )


@router.get("/pnl-by-symbol", response_model=list[schemas.SymbolPnl], responses=SHAPES)
async def pnl_by_symbol(call: CallOf, shape: ShapeOf, account: AccountQuery = None) -> Listed[schemas.SymbolPnl]:
    """What each symbol has earned, best first. Several accounts are added up."""
    async with call.view(account) as view:
        reporting = common_reporting(call.services, view)
        rows = [answers.symbol_pnl(line, reporting) for line in await view.symbols()]
        return shaped(call, shape, schemas.SymbolPnl, rows)


@router.get("/trade-history", response_model=list[schemas.Trade], responses=SHAPES)
async def trade_history(
    call: CallOf,
    shape: ShapeOf,
    *,
    symbol: SymbolQuery = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="At most this many.")] = 100,
    cursor: CursorQuery = None,
    account: AccountQuery = None,
) -> Listed[schemas.Trade]:
    """Fills, newest first."""
    after = place_of(call, cursor, EventKey)
    async with call.view(account, depends_on="rows") as view:
        page = await view.fills(symbol=_upper(symbol), limit=limit, after=after)
        call.tag(books_version(tuple(view.accounts.values())), *((line.strategy, line.cycle_id) for line in page.lines))
        offer_next(call, page.last)
        return shaped(call, shape, schemas.Trade, [answers.trade(line) for line in page.lines])


async def _performance_cached(services: Services, view: View, period: str) -> Performance:
    """Measure, or take what was measured of the same books at the same prices."""
    states = tuple(view.accounts.values())
    prices = ",".join(str(state.valued_time_us) for state in states)
    key = f"portfolio:api:performance:2:{period}:{books_version(states)}:{prices}"
    kept = await services.redis.cached(key)
    API_CACHE.labels("figures", "miss" if kept is None else "hit").inc()
    if kept is not None:
        return _performance_decoder.decode(kept)
    measured = await performance_of(view, period)
    await services.redis.keep(key, _performance.encode(measured), seconds=_CACHE_SECONDS)
    return measured


def _upper(symbol: str | None) -> str | None:
    return None if symbol is None else symbol.upper()
