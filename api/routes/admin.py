"""`/admin`: the state of the pipeline, and what the service keeps of itself."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request

from api import records, schemas
from api.cursors import CursorQuery, offer_next, place_of
from api.dependencies import LIMIT_MAX, AccountQuery, PresentCallOf, ServicesOf, require_all_accounts, visible
from api.problems import RESPONSES
from api.status import followed, status_of
from infra.postgres.alerts import newest_alerts
from infra.postgres.audit_reader import newest_entries
from infra.postgres.letters import LetterKey, newest_letters
from infra.postgres.pages import AlertKey, AuditKey, page_of
from infra.redis.client import RedisAway
from infra.settings_table import setting_rows
from portfolio.alerts.engine import AlertStatus
from portfolio.audit import AuditKind
from portfolio.money import ZERO

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {status: RESPONSES[status] for status in (404, 422, 503)}
_FORBIDDEN: Final[dict[int | str, dict[str, Any]]] = {403: RESPONSES[403]}

router = APIRouter(prefix="/admin", tags=["admin"], responses=_RESPONSES)

LimitQuery = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="At most this many.")]


@router.get("/status")
async def status(request: Request, services: ServicesOf, account: AccountQuery = None) -> schemas.Status:
    """Every part of the pipeline, as seen from here. It answers also when the database or Redis is away."""
    return await status_of(services, visible(request, account))


@router.get("/sync")
async def sync(request: Request, services: ServicesOf, account: AccountQuery = None) -> list[schemas.SyncState]:
    """How each account keeps up with the exchange, as its gateway says."""
    accounts = visible(request, account)
    async with services.reader.view(accounts) as view:
        names = sorted({*(followed(services) if accounts is None else accounts), *view.accounts})
        lines = await view.balances()
    differing = {line.account for line in lines if line.difference != ZERO}
    compared = {line.account for line in lines if line.exchange_time_us is not None}
    told = []
    for name in names:
        try:
            fields = await services.redis.fields(f"portfolio:gateway:{name}")
        except RedisAway:
            fields = {}
        told.append(records.sync_state(name, fields, agrees=name not in differing if name in compared else None))
    return told


@router.get("/audit")
async def audit(
    call: PresentCallOf,
    *,
    kind: Annotated[AuditKind | None, Query(description="Only this kind.")] = None,
    limit: LimitQuery = 100,
    cursor: CursorQuery = None,
    account: AccountQuery = None,
) -> list[schemas.AuditLine]:
    """The audit trail, newest first. `portfolio audit verify` says whether anybody tampered with it."""
    after = place_of(call, cursor, AuditKey)
    async with call.services.reader.connection() as connection:
        found = await newest_entries(
            connection,
            limit=limit + 1,
            before=None if after is None else after.offset,
            kind=kind,
            accounts=visible(call.request, account),
        )
    page = page_of(found, limit, lambda line: AuditKey(line.offset))
    offer_next(call, page.last)
    return [records.audit_line(line) for line in page.lines]


@router.get("/alerts")
async def alerts(
    call: PresentCallOf,
    *,
    status: Annotated[Literal["raised", "cleared", "all"], Query(description="Which alerts.")] = "all",
    limit: LimitQuery = 100,
    cursor: CursorQuery = None,
    account: AccountQuery = None,
) -> list[schemas.AlertLine]:
    """Alerts, those raised last first."""
    after = place_of(call, cursor, AlertKey)
    async with call.services.reader.connection() as connection:
        found = await newest_alerts(
            connection,
            limit=limit + 1,
            status=None if status == "all" else AlertStatus(status),
            before=None if after is None else (after.raised_time_us, after.id),
            accounts=visible(call.request, account),
        )
    page = page_of(found, limit, lambda alert: AlertKey(alert.raised_time_us, alert.id))
    offer_next(call, page.last)
    return [records.alert_line(alert) for alert in page.lines]


@router.get("/dead-letters", responses=_FORBIDDEN)
async def dead_letters(
    call: PresentCallOf,
    *,
    topic: Annotated[str | None, Query(pattern=r"^[\w.-]{1,200}$", description="Only from this topic.")] = None,
    limit: LimitQuery = 100,
    cursor: CursorQuery = None,
) -> list[schemas.DeadLetterLine]:
    """Records that could not be read or booked, newest first."""
    require_all_accounts(call.request)
    after = place_of(call, cursor, LetterKey)
    async with call.services.reader.connection() as connection:
        found = await newest_letters(connection, limit=limit + 1, after=after, topic=topic)
    page = page_of(found, limit, lambda line: LetterKey(line.time_us, line.letter_partition, line.letter_offset))
    offer_next(call, page.last)
    return [records.dead_letter_line(line) for line in page.lines]


@router.get("/config", responses=_FORBIDDEN)
async def config(call: PresentCallOf) -> list[schemas.Setting]:
    """The settings that this process runs with; secrets are masked."""
    require_all_accounts(call.request)
    return [records.setting(row) for row in setting_rows(call.services.settings)]
