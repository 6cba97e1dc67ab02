"""REST for whoever runs the service: /healthz, /readyz, /metrics. LINE A step 1."""

import asyncio

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import Response

from service.protocols.rest_answers import HealthAnswer, json_response
from service.protocols.rest_errors import error_response
from service.protocols.rest_parameters import CoreDependency, documented

router = APIRouter(tags=["operations"])


@router.get(
    "/healthz", summary="Alive?", response_model=HealthAnswer, responses={200: {"description": "The process answers."}}
)
async def healthz() -> Response:
    """200 as long as the process answers at all."""
    return json_response(HealthAnswer("alive"))


@router.get("/readyz", summary="Ready?", response_model=HealthAnswer, responses=documented(503))
async def readyz(request: Request, core: CoreDependency) -> Response:
    """200 once what should be live is; 503 with the reason before that and from the moment the service stops."""
    reason = core.readiness.reason()
    if reason is None:
        return json_response(HealthAnswer("ready"))
    return error_response(request.scope, 503, "not_ready", reason)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
@router.get("/monitoring/prometheus/metrics", summary="Prometheus metrics, at TensorFlow Serving's path")
async def metrics(core: CoreDependency) -> Response:
    """Everything whose name begins with `ripen_`, in Prometheus' text format."""
    return Response(await asyncio.to_thread(core.metrics.expose), media_type=CONTENT_TYPE_PLAIN_0_0_4)
