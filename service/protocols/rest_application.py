"""The REST application: every router, one shape of errors, the OpenAPI page. LINE A step 1."""

from importlib.metadata import version as package_version

from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline

from service.protocols import (
    rest_audit,
    rest_errors,
    rest_examples,
    rest_feedback,
    rest_import,
    rest_job_events,
    rest_jobs,
    rest_models,
    rest_operations,
    rest_predict,
    rest_tf_serving,
    rest_versions,
)
from service.protocols.core import Core

DESCRIPTION = """A binary image classifier that keeps learning: images in, probabilities out, labels back.

Every path takes `?model=NAME`; the default model is called `default`. Errors are
`{"error": {"code", "message", "request_id"}}`; the request's id is also in the header `X-Request-Id`.
"""
TAGS = [
    {"name": "predictions", "description": "Images in, probabilities out."},
    {"name": "models", "description": "Questions with two classes each."},
    {"name": "examples", "description": "Labelled images, what the next version learns from."},
    {"name": "feedback", "description": "Which recent predictions were right, and which to look at next."},
    {"name": "retraining", "description": "Jobs that make new versions."},
    {"name": "versions", "description": "What was made, what is live, and how to change it."},
    {"name": "operations", "description": "Health and metrics."},
    {"name": "TensorFlow Serving", "description": "Its REST API, for clients that speak it already."},
]


def build(core: Core) -> FastAPI:
    """Put the application together around a core."""
    app = FastAPIOffline(  # the page at /docs must not need a network
        title="Ripen",
        version=package_version("ripen"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.core = core
    rest_errors.add_handlers(app)
    ours = APIRouter(prefix="/api/v1")
    for module in (
        rest_predict,
        rest_models,
        rest_examples,
        rest_import,
        rest_feedback,
        rest_jobs,
        rest_job_events,
        rest_versions,
        rest_audit,
    ):
        ours.include_router(module.router)
    for router in (ours, rest_operations.router, rest_tf_serving.router):
        app.include_router(router)
    return app
