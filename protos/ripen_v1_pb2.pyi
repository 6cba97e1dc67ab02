import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClassifyRequest(_message.Message):
    __slots__ = ("model", "version", "images")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    images: _containers.RepeatedCompositeFieldContainer[Image]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., images: _Optional[_Iterable[_Union[Image, _Mapping]]] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("data", "file")
    DATA_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    file: str
    def __init__(self, data: _Optional[bytes] = ..., file: _Optional[str] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("request_id", "model", "predictions")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: ModelSpec
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[ModelSpec, _Mapping]] = ..., predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ...) -> None: ...

class ModelSpec(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("label", "probability", "threshold", "file", "error")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    label: str
    probability: float
    threshold: float
    file: str
    error: Error
    def __init__(self, label: _Optional[str] = ..., probability: _Optional[float] = ..., threshold: _Optional[float] = ..., file: _Optional[str] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ClassifyStreamRequest(_message.Message):
    __slots__ = ("model", "version", "image")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    image: Image
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class ClassifyStreamResponse(_message.Message):
    __slots__ = ("model", "prediction", "request_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: ModelSpec
    prediction: Prediction
    request_id: str
    def __init__(self, model: _Optional[_Union[ModelSpec, _Mapping]] = ..., prediction: _Optional[_Union[Prediction, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateModelRequest(_message.Message):
    __slots__ = ("name", "classes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    name: str
    classes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., classes: _Optional[_Iterable[str]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "classes", "live_version", "created_at", "pinned")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    LIVE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    name: str
    classes: _containers.RepeatedScalarFieldContainer[str]
    live_version: int
    created_at: _timestamp_pb2.Timestamp
    pinned: bool
    def __init__(self, name: _Optional[str] = ..., classes: _Optional[_Iterable[str]] = ..., live_version: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pinned: _Optional[bool] = ...) -> None: ...

class PinModelRequest(_message.Message):
    __slots__ = ("name", "pinned")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    name: str
    pinned: bool
    def __init__(self, name: _Optional[str] = ..., pinned: _Optional[bool] = ...) -> None: ...

class DeleteModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class AddExampleRequest(_message.Message):
    __slots__ = ("model", "label", "bucket", "file", "data", "group")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    model: str
    label: str
    bucket: str
    file: str
    data: bytes
    group: str
    def __init__(self, model: _Optional[str] = ..., label: _Optional[str] = ..., bucket: _Optional[str] = ..., file: _Optional[str] = ..., data: _Optional[bytes] = ..., group: _Optional[str] = ...) -> None: ...

class AddExamplesResponse(_message.Message):
    __slots__ = ("examples",)
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    examples: _containers.RepeatedCompositeFieldContainer[AddedExample]
    def __init__(self, examples: _Optional[_Iterable[_Union[AddedExample, _Mapping]]] = ...) -> None: ...

class AddedExample(_message.Message):
    __slots__ = ("id", "file", "label", "bucket", "digest", "duplicate", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    file: str
    label: str
    bucket: str
    digest: str
    duplicate: bool
    error: Error
    def __init__(self, id: _Optional[str] = ..., file: _Optional[str] = ..., label: _Optional[str] = ..., bucket: _Optional[str] = ..., digest: _Optional[str] = ..., duplicate: _Optional[bool] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class ListExamplesRequest(_message.Message):
    __slots__ = ("model", "label", "bucket", "limit", "after")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    model: str
    label: str
    bucket: str
    limit: int
    after: str
    def __init__(self, model: _Optional[str] = ..., label: _Optional[str] = ..., bucket: _Optional[str] = ..., limit: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class ListExamplesResponse(_message.Message):
    __slots__ = ("examples", "counts", "next")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    examples: _containers.RepeatedCompositeFieldContainer[Example]
    counts: _containers.RepeatedCompositeFieldContainer[ExampleCount]
    next: str
    def __init__(self, examples: _Optional[_Iterable[_Union[Example, _Mapping]]] = ..., counts: _Optional[_Iterable[_Union[ExampleCount, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class Example(_message.Message):
    __slots__ = ("id", "model", "digest", "label", "bucket", "group_id", "file", "format", "width", "height", "size_bytes", "created_at", "bucket_named", "settled", "contributor", "trusted")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    BUCKET_NAMED_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    digest: str
    label: str
    bucket: str
    group_id: str
    file: str
    format: str
    width: int
    height: int
    size_bytes: int
    created_at: _timestamp_pb2.Timestamp
    bucket_named: bool
    settled: bool
    contributor: str
    trusted: bool
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., digest: _Optional[str] = ..., label: _Optional[str] = ..., bucket: _Optional[str] = ..., group_id: _Optional[str] = ..., file: _Optional[str] = ..., format: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., size_bytes: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bucket_named: _Optional[bool] = ..., settled: _Optional[bool] = ..., contributor: _Optional[str] = ..., trusted: _Optional[bool] = ...) -> None: ...

class DeleteExampleRequest(_message.Message):
    __slots__ = ("model", "id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    id: str
    def __init__(self, model: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class DeletedExample(_message.Message):
    __slots__ = ("example", "trained_versions", "judged_versions", "copies_in")
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    TRAINED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    JUDGED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    COPIES_IN_FIELD_NUMBER: _ClassVar[int]
    example: Example
    trained_versions: _containers.RepeatedCompositeFieldContainer[Trace]
    judged_versions: _containers.RepeatedCompositeFieldContainer[Trace]
    copies_in: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, example: _Optional[_Union[Example, _Mapping]] = ..., trained_versions: _Optional[_Iterable[_Union[Trace, _Mapping]]] = ..., judged_versions: _Optional[_Iterable[_Union[Trace, _Mapping]]] = ..., copies_in: _Optional[_Iterable[int]] = ...) -> None: ...

class Trace(_message.Message):
    __slots__ = ("version", "bucket", "pruned")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    PRUNED_FIELD_NUMBER: _ClassVar[int]
    version: int
    bucket: str
    pruned: bool
    def __init__(self, version: _Optional[int] = ..., bucket: _Optional[str] = ..., pruned: _Optional[bool] = ...) -> None: ...

class FeedbackRequest(_message.Message):
    __slots__ = ("model", "request_id", "index", "label", "correct")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    model: str
    request_id: str
    index: int
    label: str
    correct: bool
    def __init__(self, model: _Optional[str] = ..., request_id: _Optional[str] = ..., index: _Optional[int] = ..., label: _Optional[str] = ..., correct: _Optional[bool] = ...) -> None: ...

class ListReviewRequest(_message.Message):
    __slots__ = ("model", "limit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    limit: int
    def __init__(self, model: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListReviewResponse(_message.Message):
    __slots__ = ("predictions",)
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    predictions: _containers.RepeatedCompositeFieldContainer[ReviewEntry]
    def __init__(self, predictions: _Optional[_Iterable[_Union[ReviewEntry, _Mapping]]] = ...) -> None: ...

class ReviewEntry(_message.Message):
    __slots__ = ("request_id", "index", "model", "version", "label", "probability", "threshold", "file", "predicted_at", "reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    index: int
    model: str
    version: int
    label: str
    probability: float
    threshold: float
    file: str
    predicted_at: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, request_id: _Optional[str] = ..., index: _Optional[int] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., label: _Optional[str] = ..., probability: _Optional[float] = ..., threshold: _Optional[float] = ..., file: _Optional[str] = ..., predicted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class GetReviewImageRequest(_message.Message):
    __slots__ = ("model", "request_id", "index")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    model: str
    request_id: str
    index: int
    def __init__(self, model: _Optional[str] = ..., request_id: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class ReviewImage(_message.Message):
    __slots__ = ("data", "format")
    DATA_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    format: str
    def __init__(self, data: _Optional[bytes] = ..., format: _Optional[str] = ...) -> None: ...

class ExampleCount(_message.Message):
    __slots__ = ("model", "label", "bucket", "count")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    model: str
    label: str
    bucket: str
    count: int
    def __init__(self, model: _Optional[str] = ..., label: _Optional[str] = ..., bucket: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Recipe(_message.Message):
    __slots__ = ("name", "backbone", "alpha", "weights", "image_size", "preprocessing", "pooling", "dense_units", "head_epochs", "tail_layers", "tail_epochs", "batch_size", "learning_rate", "keep", "threshold", "seed", "views", "calibrate", "goal", "false_positive_cost", "false_negative_cost", "least_precision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    DENSE_UNITS_FIELD_NUMBER: _ClassVar[int]
    HEAD_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    TAIL_LAYERS_FIELD_NUMBER: _ClassVar[int]
    TAIL_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATE_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    FALSE_POSITIVE_COST_FIELD_NUMBER: _ClassVar[int]
    FALSE_NEGATIVE_COST_FIELD_NUMBER: _ClassVar[int]
    LEAST_PRECISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    backbone: str
    alpha: float
    weights: str
    image_size: int
    preprocessing: str
    pooling: str
    dense_units: int
    head_epochs: int
    tail_layers: int
    tail_epochs: int
    batch_size: int
    learning_rate: float
    keep: str
    threshold: float
    seed: int
    views: int
    calibrate: bool
    goal: str
    false_positive_cost: float
    false_negative_cost: float
    least_precision: float
    def __init__(self, name: _Optional[str] = ..., backbone: _Optional[str] = ..., alpha: _Optional[float] = ..., weights: _Optional[str] = ..., image_size: _Optional[int] = ..., preprocessing: _Optional[str] = ..., pooling: _Optional[str] = ..., dense_units: _Optional[int] = ..., head_epochs: _Optional[int] = ..., tail_layers: _Optional[int] = ..., tail_epochs: _Optional[int] = ..., batch_size: _Optional[int] = ..., learning_rate: _Optional[float] = ..., keep: _Optional[str] = ..., threshold: _Optional[float] = ..., seed: _Optional[int] = ..., views: _Optional[int] = ..., calibrate: _Optional[bool] = ..., goal: _Optional[str] = ..., false_positive_cost: _Optional[float] = ..., false_negative_cost: _Optional[float] = ..., least_precision: _Optional[float] = ...) -> None: ...

class StartJobRequest(_message.Message):
    __slots__ = ("model", "recipe", "gate_policy", "idempotency_key", "dry_run")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    GATE_POLICY_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    model: str
    recipe: Recipe
    gate_policy: str
    idempotency_key: str
    dry_run: bool
    def __init__(self, model: _Optional[str] = ..., recipe: _Optional[_Union[Recipe, _Mapping]] = ..., gate_policy: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("model", "id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    id: str
    def __init__(self, model: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("model", "id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    id: str
    def __init__(self, model: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("model", "id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    id: str
    def __init__(self, model: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("model", "limit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    limit: int
    def __init__(self, model: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "model", "state", "recipe", "gate_policy", "progress", "created_at", "idempotency_key", "attempt", "cancel_requested", "started_at", "finished_at", "version", "verdict", "failure", "dry_run")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    GATE_POLICY_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    state: str
    recipe: Recipe
    gate_policy: str
    progress: Progress
    created_at: _timestamp_pb2.Timestamp
    idempotency_key: str
    attempt: int
    cancel_requested: bool
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    version: int
    verdict: Verdict
    failure: Error
    dry_run: bool
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., state: _Optional[str] = ..., recipe: _Optional[_Union[Recipe, _Mapping]] = ..., gate_policy: _Optional[str] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., attempt: _Optional[int] = ..., cancel_requested: _Optional[bool] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., version: _Optional[int] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ..., failure: _Optional[_Union[Error, _Mapping]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("step", "fraction", "eta_s", "epoch", "epochs", "message", "warnings", "history")
    STEP_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    ETA_S_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    step: str
    fraction: float
    eta_s: float
    epoch: int
    epochs: int
    message: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    history: _containers.RepeatedCompositeFieldContainer[Epoch]
    def __init__(self, step: _Optional[str] = ..., fraction: _Optional[float] = ..., eta_s: _Optional[float] = ..., epoch: _Optional[int] = ..., epochs: _Optional[int] = ..., message: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ..., history: _Optional[_Iterable[_Union[Epoch, _Mapping]]] = ...) -> None: ...

class Epoch(_message.Message):
    __slots__ = ("epoch", "phase", "loss", "accuracy", "validation_loss", "validation_accuracy", "seconds")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    phase: str
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    def __init__(self, epoch: _Optional[int] = ..., phase: _Optional[str] = ..., loss: _Optional[float] = ..., accuracy: _Optional[float] = ..., validation_loss: _Optional[float] = ..., validation_accuracy: _Optional[float] = ..., seconds: _Optional[float] = ...) -> None: ...

class Metrics(_message.Message):
    __slots__ = ("count", "accuracy", "log_loss", "auc", "precision", "recall", "true_positive", "false_positive", "true_negative", "false_negative")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    LOG_LOSS_FIELD_NUMBER: _ClassVar[int]
    AUC_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    TRUE_POSITIVE_FIELD_NUMBER: _ClassVar[int]
    FALSE_POSITIVE_FIELD_NUMBER: _ClassVar[int]
    TRUE_NEGATIVE_FIELD_NUMBER: _ClassVar[int]
    FALSE_NEGATIVE_FIELD_NUMBER: _ClassVar[int]
    count: int
    accuracy: float
    log_loss: float
    auc: float
    precision: float
    recall: float
    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int
    def __init__(self, count: _Optional[int] = ..., accuracy: _Optional[float] = ..., log_loss: _Optional[float] = ..., auc: _Optional[float] = ..., precision: _Optional[float] = ..., recall: _Optional[float] = ..., true_positive: _Optional[int] = ..., false_positive: _Optional[int] = ..., true_negative: _Optional[int] = ..., false_negative: _Optional[int] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("decision", "policy", "reasons", "candidate", "live", "live_version", "comparisons", "more_images")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    LIVE_VERSION_FIELD_NUMBER: _ClassVar[int]
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    MORE_IMAGES_FIELD_NUMBER: _ClassVar[int]
    decision: str
    policy: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    candidate: Metrics
    live: Metrics
    live_version: int
    comparisons: _containers.RepeatedCompositeFieldContainer[Comparison]
    more_images: int
    def __init__(self, decision: _Optional[str] = ..., policy: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ..., candidate: _Optional[_Union[Metrics, _Mapping]] = ..., live: _Optional[_Union[Metrics, _Mapping]] = ..., live_version: _Optional[int] = ..., comparisons: _Optional[_Iterable[_Union[Comparison, _Mapping]]] = ..., more_images: _Optional[int] = ...) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("slice", "count", "judged", "protected", "candidate_accuracy", "live_accuracy", "only_candidate_right", "only_live_right", "p_value", "log_loss", "auc")
    SLICE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FIELD_NUMBER: _ClassVar[int]
    PROTECTED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    LIVE_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    ONLY_CANDIDATE_RIGHT_FIELD_NUMBER: _ClassVar[int]
    ONLY_LIVE_RIGHT_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    LOG_LOSS_FIELD_NUMBER: _ClassVar[int]
    AUC_FIELD_NUMBER: _ClassVar[int]
    slice: str
    count: int
    judged: bool
    protected: bool
    candidate_accuracy: float
    live_accuracy: float
    only_candidate_right: int
    only_live_right: int
    p_value: float
    log_loss: Difference
    auc: Difference
    def __init__(self, slice: _Optional[str] = ..., count: _Optional[int] = ..., judged: _Optional[bool] = ..., protected: _Optional[bool] = ..., candidate_accuracy: _Optional[float] = ..., live_accuracy: _Optional[float] = ..., only_candidate_right: _Optional[int] = ..., only_live_right: _Optional[int] = ..., p_value: _Optional[float] = ..., log_loss: _Optional[_Union[Difference, _Mapping]] = ..., auc: _Optional[_Union[Difference, _Mapping]] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("value", "low", "high")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("live", "aspired", "versions", "history")
    LIVE_FIELD_NUMBER: _ClassVar[int]
    ASPIRED_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    live: int
    aspired: int
    versions: _containers.RepeatedCompositeFieldContainer[Version]
    history: _containers.RepeatedCompositeFieldContainer[LiveChange]
    def __init__(self, live: _Optional[int] = ..., aspired: _Optional[int] = ..., versions: _Optional[_Iterable[_Union[Version, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[LiveChange, _Mapping]]] = ...) -> None: ...

class GetVersionRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("version", "state", "live", "status", "metrics", "verdict", "parent", "job_id", "created_at", "training_seconds", "manifest", "pinned", "pruned_at")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    TRAINING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    PRUNED_AT_FIELD_NUMBER: _ClassVar[int]
    version: int
    state: str
    live: bool
    status: ServiceStatus
    metrics: Metrics
    verdict: Verdict
    parent: int
    job_id: str
    created_at: _timestamp_pb2.Timestamp
    training_seconds: float
    manifest: _struct_pb2.Struct
    pinned: bool
    pruned_at: _timestamp_pb2.Timestamp
    def __init__(self, version: _Optional[int] = ..., state: _Optional[str] = ..., live: _Optional[bool] = ..., status: _Optional[_Union[ServiceStatus, _Mapping]] = ..., metrics: _Optional[_Union[Metrics, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ..., parent: _Optional[int] = ..., job_id: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., training_seconds: _Optional[float] = ..., manifest: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., pinned: _Optional[bool] = ..., pruned_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ServiceStatus(_message.Message):
    __slots__ = ("error_code", "message", "runtime", "notes")
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    error_code: str
    message: str
    runtime: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, error_code: _Optional[str] = ..., message: _Optional[str] = ..., runtime: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class PromoteVersionRequest(_message.Message):
    __slots__ = ("model", "version", "reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    reason: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class PinVersionRequest(_message.Message):
    __slots__ = ("model", "version", "pinned")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    pinned: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., pinned: _Optional[bool] = ...) -> None: ...

class DeleteVersionRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class RollBackRequest(_message.Message):
    __slots__ = ("model", "reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    reason: str
    def __init__(self, model: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class LiveChange(_message.Message):
    __slots__ = ("model", "version", "replaced", "kind", "reason", "created_at")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    replaced: int
    kind: str
    reason: str
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., replaced: _Optional[int] = ..., kind: _Optional[str] = ..., reason: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
