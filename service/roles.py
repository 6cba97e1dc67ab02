"""The one table of roles: which of them each REST route and each gRPC method asks for. LINE A step 1, LINE B step 1.

One of the roles is enough, and none implies another. Tests walk all routes and methods and fail on one without a row.
"""

from starlette.routing import compile_path

from contract.keys import Role

Roles = frozenset[Role]
OPEN = None  # no key at all
ANY: Roles = frozenset(Role)
NOBODY: Roles = frozenset()
PREDICT: Roles = frozenset({Role.PREDICT})
PREDICT_OR_OBSERVE: Roles = frozenset({Role.PREDICT, Role.OBSERVE})
LABEL: Roles = frozenset({Role.LABEL})
TRAIN: Roles = frozenset({Role.TRAIN})
TRAIN_OR_OBSERVE: Roles = frozenset({Role.TRAIN, Role.OBSERVE})
PROMOTE: Roles = frozenset({Role.PROMOTE})
OBSERVE: Roles = frozenset({Role.OBSERVE})
ADMIN: Roles = frozenset({Role.ADMIN})

TF_SERVING_METHODS = {
    "GET": PREDICT_OR_OBSERVE,
    "POST": PREDICT,
    **dict.fromkeys(("PUT", "PATCH", "DELETE", "OPTIONS"), ANY),  # refused with TensorFlow Serving's own 400
}
TF_SERVING_PATHS = {
    "/v1/models/{model}": "GET",
    "/v1/models/{model}/metadata": "GET",
    "/v1/models/{model}:predict": "POST",
    "/v1/models/{model}/versions/{version}": "GET",
    "/v1/models/{model}/versions/{version}/metadata": "GET",
    "/v1/models/{model}/versions/{version}:predict": "POST",
}
REST: dict[tuple[str, str], Roles | None] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): OBSERVE,
    ("GET", "/monitoring/prometheus/metrics"): OBSERVE,
    ("GET", "/docs"): OBSERVE,
    ("GET", "/docs/oauth2-redirect"): OBSERVE,
    ("GET", "/openapi.json"): OBSERVE,
    ("GET", "/static-offline-docs/{path:path}"): OBSERVE,
    ("POST", "/api/v1/predict"): PREDICT,
    ("POST", "/api/v1/models"): ADMIN,
    ("GET", "/api/v1/models"): ANY,
    ("GET", "/api/v1/models/{name}"): ANY,
    ("PATCH", "/api/v1/models/{name}"): ADMIN,
    ("DELETE", "/api/v1/models/{name}"): ADMIN,
    ("POST", "/api/v1/examples"): LABEL,
    ("POST", "/api/v1/examples:import"): LABEL,
    ("GET", "/api/v1/examples"): LABEL,
    ("DELETE", "/api/v1/examples/{example_id}"): ADMIN,
    ("POST", "/api/v1/feedback"): LABEL,
    ("GET", "/api/v1/review"): LABEL,
    ("GET", "/api/v1/review/{request_id}/{index}/image"): LABEL,
    ("POST", "/api/v1/retrain"): TRAIN,
    ("GET", "/api/v1/jobs"): TRAIN_OR_OBSERVE,
    ("GET", "/api/v1/jobs/{job_id}"): TRAIN_OR_OBSERVE,
    ("GET", "/api/v1/jobs/{job_id}/events"): TRAIN_OR_OBSERVE,
    ("POST", "/api/v1/jobs/{job_id}:cancel"): TRAIN,
    ("GET", "/api/v1/versions"): OBSERVE,
    ("GET", "/api/v1/versions/{number}"): OBSERVE,
    ("GET", "/api/v1/versions/{number}/curves.png"): OBSERVE,
    ("POST", "/api/v1/versions/{number}:promote"): PROMOTE,
    ("POST", "/api/v1/versions/{number}:pin"): PROMOTE,
    ("POST", "/api/v1/versions/{number}:unpin"): PROMOTE,
    ("POST", "/api/v1/versions:rollback"): PROMOTE,
    ("DELETE", "/api/v1/versions/{number}"): ADMIN,
    ("GET", "/api/v1/audit"): ADMIN,
    **{(method, path): TF_SERVING_METHODS[method] for path, method in TF_SERVING_PATHS.items()},
    **{
        (method, path): roles
        for path in ("/v1", "/v1/{rest:path}", "/V1/{rest:path}")
        for method, roles in TF_SERVING_METHODS.items()
    },
}
GRPC: dict[str, Roles | None] = {
    "/grpc.health.v1.Health/Check": OPEN,
    "/grpc.health.v1.Health/List": OPEN,
    "/grpc.health.v1.Health/Watch": OPEN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": NOBODY,  # there only where no key is asked for
    "/tensorflow.serving.PredictionService/Predict": PREDICT,
    "/tensorflow.serving.PredictionService/GetModelMetadata": PREDICT_OR_OBSERVE,
    "/tensorflow.serving.ModelService/GetModelStatus": PREDICT_OR_OBSERVE,
    "/ripen.v1.Classifier/Classify": PREDICT,
    "/ripen.v1.Classifier/ClassifyStream": PREDICT,
    "/ripen.v1.Learning/CreateModel": ADMIN,
    "/ripen.v1.Learning/ListModels": ANY,
    "/ripen.v1.Learning/GetModel": ANY,
    "/ripen.v1.Learning/PinModel": ADMIN,
    "/ripen.v1.Learning/DeleteModel": ADMIN,
    "/ripen.v1.Learning/AddExamples": LABEL,
    "/ripen.v1.Learning/ListExamples": LABEL,
    "/ripen.v1.Learning/DeleteExample": ADMIN,
    "/ripen.v1.Learning/GiveFeedback": LABEL,
    "/ripen.v1.Learning/ListReview": LABEL,
    "/ripen.v1.Learning/GetReviewImage": LABEL,
    "/ripen.v1.Learning/StartJob": TRAIN,
    "/ripen.v1.Learning/GetJob": TRAIN_OR_OBSERVE,
    "/ripen.v1.Learning/ListJobs": TRAIN_OR_OBSERVE,
    "/ripen.v1.Learning/WatchJob": TRAIN_OR_OBSERVE,
    "/ripen.v1.Learning/CancelJob": TRAIN,
    "/ripen.v1.Learning/ListVersions": OBSERVE,
    "/ripen.v1.Learning/GetVersion": OBSERVE,
    "/ripen.v1.Learning/PromoteVersion": PROMOTE,
    "/ripen.v1.Learning/RollBack": PROMOTE,
    "/ripen.v1.Learning/PinVersion": PROMOTE,
    "/ripen.v1.Learning/DeleteVersion": ADMIN,
}


class RestRoles:
    """Finds the row of a request, by the same patterns as the application's router."""

    def __init__(self) -> None:
        self._rows = [(method, compile_path(path)[0], roles) for (method, path), roles in REST.items()]

    def of(self, method: str, path: str) -> Roles | None:
        """The roles of which one is enough; what no row matches does not exist, and any key may be told so."""
        if (exact := (method, path)) in REST:
            return REST[exact]
        method = "GET" if method == "HEAD" else method
        return next((roles for verb, pattern, roles in self._rows if verb == method and pattern.match(path)), ANY)
