"""`/metrics`: every process of the service, for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api.dependencies import require_all_accounts
from api.problems import RESPONSES
from api.telemetry import ApiMeter
from infra.telemetry.merging import merge
from infra.telemetry.metrics import exposition
from infra.telemetry.sharing import MetricsStore, this_process

router = APIRouter(tags=["monitoring"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}},
        403: RESPONSES[403],
    },
)
async def prometheus(request: Request) -> Response:
    """Metrics of every process that shares this Redis; without Redis, of this one. Docs: docs/monitoring.md."""
    require_all_accounts(request)
    meter: ApiMeter = request.app.state.meter
    store: MetricsStore = request.app.state.metrics
    meter.collect()
    own = this_process("api")
    others = [(name, text) for name, text in await store.all() if name != own]
    return Response(merge([(own, exposition("api")), *others]), media_type=CONTENT_TYPE_LATEST)
