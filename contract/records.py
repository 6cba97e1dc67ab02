"""The nouns that service and retrain exchange through database rows and manifests. Both lines.

Frozen dataclasses; `msgspec` turns them into JSON and back and checks every type on the way in.
Times are timezone-aware UTC datetimes. Probability is always P(`classes[1]`) in [0, 1].
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from contract.errors import InvalidRequest

DEFAULT_MODEL = "default"
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,62}"
LABEL_PATTERN = r"[^\x00-\x1f/\\]{1,64}"


class Bucket(StrEnum):
    """What an image is used for, decided once and for life."""

    TRAIN = "train"
    TUNE = "tune"
    CALIBRATE = "calibrate"
    HOLDOUT = "holdout"


class JobState(StrEnum):
    """Life of a job: QUEUED -> RUNNING -> one of the three ends. A job whose worker died is claimed again."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class VersionState(StrEnum):
    """Life of a version in the running service. Source: TensorFlow Serving, get_model_status.proto."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


class Decision(StrEnum):
    """What the gate says of a new version."""

    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class GatePolicy(StrEnum):
    """When a new version goes live without a person: if it is not worse than the live one, or always."""

    NOT_WORSE = "not_worse"
    ALWAYS = "always"


class Preprocessing(StrEnum):
    """What the model does to uint8 pixels first: the backbone's own `preprocess_input`, or the guide's 1/255."""

    OWN = "own"
    RESCALE = "rescale"


class Pooling(StrEnum):
    """How the backbone's feature map becomes a vector."""

    FLATTEN = "flatten"
    AVERAGE = "average"


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the guide's; every number may be set.

    Attributes:
        name: `guide`.
        backbone: a Keras Applications name (`MobileNetV2`, `VGG16`, ...) or `Compact`; None chooses MobileNetV2, and
            Compact where its ImageNet weights cannot be had.
        alpha: width multiplier of the MobileNets; None is the backbone's own default.
        weights: `auto`, `imagenet`, `none`, or the path of a weights file.
        image_size: side of the square input in pixels, 32-1024; None is the backbone's own default.
        preprocessing: inside the model, before the backbone.
        pooling: `flatten` or `average`.
        dense_units: width of the hidden Dense layer.
        head_epochs: epochs with the backbone frozen.
        tail_layers: how many of the backbone's last layers are unfrozen afterwards.
        tail_epochs: epochs with them unfrozen. A network trained whole runs head_epochs + tail_epochs.
        batch_size: images per step.
        learning_rate: Adam's, in both phases.
        threshold: P(`classes[1]`) from which the answer is `classes[1]`.
        seed: of initial weights and of the order of images.
    """

    name: str = "guide"
    backbone: str | None = None
    alpha: float | None = None
    weights: str = "auto"
    image_size: int | None = None
    preprocessing: Preprocessing = Preprocessing.OWN
    pooling: Pooling = Pooling.FLATTEN
    dense_units: int = 256
    head_epochs: int = 5
    tail_layers: int = 4
    tail_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    threshold: float = 0.5
    seed: int = 42

    def __post_init__(self) -> None:
        _check(self.name == "guide", "recipe.name", self.name, "`guide`")
        _check(self.alpha is None or 0 < self.alpha <= 4, "recipe.alpha", self.alpha, "a number in (0, 4]")
        _check(
            self.image_size is None or 32 <= self.image_size <= 1024,
            "recipe.image_size",
            self.image_size,
            "32 to 1024 pixels",
        )
        _check(1 <= self.dense_units <= 8192, "recipe.dense_units", self.dense_units, "1 to 8192")
        _check(0 <= self.head_epochs <= 1000, "recipe.head_epochs", self.head_epochs, "0 to 1000")
        _check(0 <= self.tail_epochs <= 1000, "recipe.tail_epochs", self.tail_epochs, "0 to 1000")
        _check(self.head_epochs + self.tail_epochs > 0, "recipe.head_epochs + tail_epochs", 0, "at least 1")
        _check(1 <= self.tail_layers <= 10_000, "recipe.tail_layers", self.tail_layers, "1 to 10000")
        _check(1 <= self.batch_size <= 1024, "recipe.batch_size", self.batch_size, "1 to 1024")
        _check(0 < self.learning_rate <= 1, "recipe.learning_rate", self.learning_rate, "a number in (0, 1]")
        _check(0 < self.threshold < 1, "recipe.threshold", self.threshold, "a number in (0, 1)")
        _check(0 <= self.seed < 2**31, "recipe.seed", self.seed, "0 to 2147483647")


@dataclass(frozen=True)
class Model:
    """One yes/no question. `classes` is None until it is declared, and never changes afterwards."""

    name: str
    classes: tuple[str, str] | None
    live_version: int | None
    split_key: str  # 32 hex digits: the key of the hash that gives each image its bucket
    created_at: datetime


@dataclass(frozen=True)
class Example:
    """One labelled image. `id` is unique in its model; `digest` is the sha256 of the encoded bytes, in hex."""

    id: str
    model: str
    digest: str
    label: str
    bucket: Bucket
    group_id: str
    file: str  # the name that the client gave, for people only
    format: str  # JPEG, PNG or WEBP
    width: int
    height: int
    size_bytes: int
    created_at: datetime

    @property
    def storage_key(self) -> str:
        """Where the encoded bytes lie in the object storage."""
        return f"examples/{self.model}/{self.digest[:2]}/{self.digest}"


@dataclass(frozen=True)
class Metrics:
    """A version on a set of labelled images, at its own threshold. Rates are in [0, 1], `classes[1]` is positive.

    `precision`, `recall` and `auc` are None where they are undefined (a class without images or answers).
    """

    count: int
    accuracy: float
    log_loss: float
    auc: float | None
    precision: float | None
    recall: float | None
    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


@dataclass(frozen=True)
class Verdict:
    """What the gate said, and why, in words. `live` is the measured live version, where there was one."""

    decision: Decision
    policy: GatePolicy
    reasons: tuple[str, ...]
    candidate: Metrics
    live: Metrics | None = None
    live_version: int | None = None


@dataclass(frozen=True)
class Epoch:
    """One epoch's end. Losses are binary cross-entropies; validation is the tune bucket."""

    epoch: int  # from 1, counted over all phases
    phase: str  # head, tail or whole
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class Progress:
    """How far a job is. `step` is one of LINE B's; `fraction` of the whole job is in [0, 1]."""

    step: str = "queued"
    fraction: float = 0.0
    eta_s: float | None = None
    epoch: int = 0
    epochs: int = 0
    message: str = ""
    warnings: tuple[str, ...] = ()
    history: tuple[Epoch, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why a job failed: an error's code and its message."""

    code: str
    message: str


@dataclass(frozen=True)
class Job:
    """One retraining. `attempt` counts the claims and fences off a worker that lost its lease."""

    id: str
    model: str
    state: JobState
    recipe: Recipe
    gate_policy: GatePolicy
    progress: Progress
    created_at: datetime
    idempotency_key: str | None = None
    attempt: int = 0
    cancel_requested: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    version: int | None = None
    verdict: Verdict | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Version:
    """One published version. `storage_key` names its folder, `manifest_sha256` pins its manifest."""

    model: str
    number: int
    job_id: str
    parent: int | None
    metrics: Metrics
    verdict: Verdict
    training_seconds: float
    manifest_sha256: str
    created_at: datetime

    @property
    def storage_key(self) -> str:
        return version_key(self.model, self.number)


class ChangeKind(StrEnum):
    """How a version became live: by the gate, by hand, or by going back."""

    GATE = "gate"
    MANUAL = "manual"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class LiveChange:
    """One line of a model's history: `version` became live in place of `replaced`."""

    model: str
    version: int
    replaced: int | None
    kind: ChangeKind
    reason: str
    created_at: datetime


@dataclass(frozen=True)
class Aspiration:
    """Which versions a model should have in service. `previous` is what a rollback would bring back."""

    model: str
    live: Version
    previous: Version | None


@dataclass(frozen=True)
class Prediction:
    """One answer. `probability` is P(`classes[1]`) in [0, 1]; `label` is `classes[1]` from `threshold` on."""

    label: str
    probability: float
    threshold: float


@dataclass(frozen=True)
class ExampleCount:
    """How many examples a model has under one label in one bucket."""

    model: str
    label: str
    bucket: Bucket
    count: int = field(default=0)


def change_recipe(base: Recipe, changes: Mapping[str, object]) -> Recipe:
    """Return `base` with some fields changed.

    Raises:
        InvalidRequest: a field that recipes do not have, of another type, or out of its range.
    """
    known = asdict(base)
    for name in changes:
        _check(name in known, "a recipe field", name, f"one of {', '.join(known)}")
    try:
        return msgspec.convert({**known, **changes}, Recipe)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The recipe cannot be used: {error}.") from error


def version_key(model: str, number: int) -> str:
    """The storage key of a version's folder: `models/<model>/<number>`, as TensorFlow Serving wants it."""
    return f"models/{model}/{number}"


def check_model_name(name: str) -> str:
    """Return `name`, or raise InvalidRequest if it cannot name a model (it becomes part of paths)."""
    _check(re.fullmatch(NAME_PATTERN, name) is not None, "model name", name, f"a match of {NAME_PATTERN}")
    return name


def check_classes(classes: tuple[str, ...]) -> tuple[str, str]:
    """Return exactly two different class names in the given order, or raise InvalidRequest."""
    for label in classes:
        _check(re.fullmatch(LABEL_PATTERN, label) is not None, "class name", label, "1-64 characters without / or \\")
    _check(len(classes) == 2 and len(set(classes)) == 2, "classes", list(classes), "exactly two different names")
    return classes[0], classes[1]


def _check(good: bool, name: str, value: object, wanted: str) -> None:
    if not good:
        raise InvalidRequest(f"{name} is {value!r}; expected {wanted}.")
