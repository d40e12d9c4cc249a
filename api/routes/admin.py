"""`/admin`: the state of the pipeline."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from api import schemas
from api.dependencies import ServicesOf, visible
from api.problems import RESPONSES
from api.status import status_of

router = APIRouter(prefix="/admin", tags=["admin"], responses={404: RESPONSES[404], 422: RESPONSES[422]})


@router.get("/status")
async def status(
    request: Request,
    services: ServicesOf,
    account: Annotated[
        str | None,
        Query(min_length=1, max_length=100, description="One account; without it, all that are followed."),
    ] = None,
) -> schemas.Status:
    """Every part of the pipeline, as seen from here. It answers also when the database or Redis is away."""
    return await status_of(services, visible(request, account))
