"""`/portfolio`, what else the books say: accounts, cash flows, fees, and how they compare with the exchange."""

from typing import Annotated

from fastapi import APIRouter, Query

from api import answers, schemas
from api.cursors import CursorQuery, offer_next, place_of
from api.dependencies import LIMIT_MAX, AccountQuery, CallOf, common_reporting
from api.problems import DATA_RESPONSES
from api.tabular import SHAPES, Listed, ShapeOf, shaped
from infra.postgres.pages import EventKey

router = APIRouter(prefix="/portfolio", tags=["portfolio"], responses=DATA_RESPONSES)


@router.get("/accounts", response_model=list[schemas.Account], responses=SHAPES)
async def accounts(call: CallOf, shape: ShapeOf, account: AccountQuery = None) -> Listed[schemas.Account]:
    """Every account by name, each in its own reporting currency."""
    async with call.view(account) as view:
        lines = await view.balances()
        told = [
            answers.account(state, [line for line in lines if line.account == name])
            for name, state in view.accounts.items()
        ]
        return shaped(call, shape, schemas.Account, told)


@router.get("/flows", response_model=list[schemas.CashFlow], responses=SHAPES)
async def flows(
    call: CallOf,
    shape: ShapeOf,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="At most this many.")] = 100,
    cursor: CursorQuery = None,
    account: AccountQuery = None,
) -> Listed[schemas.CashFlow]:
    """What was paid in and out, newest first."""
    after = place_of(call, cursor, EventKey)
    async with call.view(account, depends_on="books") as view:
        page = await view.flows(limit=limit, after=after)
        offer_next(call, page.last)
        return shaped(call, shape, schemas.CashFlow, [answers.cash_flow(line) for line in page.lines])


@router.get("/fees")
async def fees(call: CallOf, account: AccountQuery = None) -> schemas.Fees:
    """What trading has cost, by the asset that it was paid in and by symbol. Several accounts are added up."""
    async with call.view(account, depends_on="books") as view:
        reporting = common_reporting(call.services, view)
        return answers.fees(list(view.accounts.values()), await view.fees(), await view.symbols(), reporting)


@router.get("/reconciliation")
async def reconciliation(call: CallOf, account: AccountQuery = None) -> schemas.Reconciliation:
    """Whether the ledger agrees with the exchange, and every asset on which it does not."""
    async with call.view(account) as view:
        return answers.reconciliation(await view.balances())
