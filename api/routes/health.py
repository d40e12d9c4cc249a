"""`/health`: for whoever starts and watches processes."""

from fastapi import APIRouter

from api import schemas
from api.dependencies import ServicesOf
from api.problems import RESPONSES

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> schemas.Health:
    """Whether the process answers."""
    return schemas.Health()


@router.get("/ready", responses={503: RESPONSES[503]})
async def ready(services: ServicesOf) -> schemas.Health:
    """Whether the database answers and has the tables of this version. `/admin/status` has the rest of the pipeline."""
    await services.reader.check()
    return schemas.Health()
