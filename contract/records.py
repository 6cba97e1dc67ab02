"""The nouns that service and retrain exchange through database rows and manifests. Both lines.

Frozen dataclasses; `msgspec` turns them into JSON and back and checks every type on the way in.
Times are timezone-aware UTC datetimes. Probability is always P(`classes[1]`) in [0, 1].
"""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from contract.comparison import Comparison
from contract.recipe import Recipe, check
from contract.training import Epoch

DEFAULT_MODEL = "default"
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,62}"
LABEL_PATTERN = (  # a name of one line that looks as it reads; JSON allows lone surrogates, UTF-8 does not
    r"(?!\.{1,2}$)[^\x00-\x1f\x7f-\x9f/\\\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]{1,64}"
)
GROUP_LENGTH = 63  # of a name that a user gives: shorter than a digest


class Bucket(StrEnum):
    """What an image is used for, decided once and for life."""

    TRAIN = "train"
    TUNE = "tune"
    CALIBRATE = "calibrate"
    HOLDOUT = "holdout"
    EXCLUDED = "excluded"  # in none of them: it would connect two


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


class RuntimeChoice(StrEnum):
    """What runs a version's network; `auto` decides per version."""

    AUTO = "auto"
    TENSORFLOW = "tensorflow"
    OPENVINO = "openvino"


class PrecisionChoice(StrEnum):
    """What it computes in; `auto` takes the fastest whose parity passes."""

    AUTO = "auto"
    F32 = "f32"
    BF16 = "bf16"
    INT8 = "int8"


class SwapChoice(StrEnum):
    """How a version takes over where both do not fit into the memory: not at all, or after the old one has stopped."""

    PARALLEL = "parallel"
    SERIAL = "serial"


class GatePolicy(StrEnum):
    """When a new version goes live without a person; docs/gate.md says what each asks for.

    `not_worse` is from earlier releases, whose rows keep it; it is judged as `balanced`.
    """

    CAUTIOUS = "cautious"
    BALANCED = "balanced"
    ALWAYS = "always"
    NOT_WORSE = "not_worse"


@dataclass(frozen=True)
class Model:
    """One yes/no question. `classes` is None until it is declared, and never changes afterwards."""

    name: str
    classes: tuple[str, str] | None
    live_version: int | None
    split_key: str  # 32 hex digits: the key of the hash that gives each image its bucket
    created_at: datetime
    pinned: bool = False  # its engine stays loaded, whatever the memory budget says


@dataclass(frozen=True)
class Example:
    """One labelled image. `id` is unique in its model; `digest` is the sha256 of the encoded bytes, in hex.

    Images of one `group_id` are in one bucket: a name that a user gave, or the digest of one of them.
    """

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
    bucket_named: bool = False  # by a user, or by its untrusted key; counts until it is settled
    settled: bool = False  # a job has read it: group and bucket are for life
    contributor: str = ""  # the client of the key that it came with; empty: from before this was kept
    trusted: bool = True  # whether that was a trusted key

    @property
    def group_named(self) -> bool:
        """Whether a user named the group."""
        return len(self.group_id) <= GROUP_LENGTH

    @property
    def storage_key(self) -> str:
        """Where the encoded bytes lie in the object storage."""
        return example_key(self.model, self.digest)


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
    """What the gate said, and why, in words. `live` is the measured live version, where there was one.

    `comparisons` begin with the whole hold-out; `more_images` is about how many more would help to decide.
    """

    decision: Decision
    policy: GatePolicy
    reasons: tuple[str, ...]
    candidate: Metrics
    live: Metrics | None = None
    live_version: int | None = None
    comparisons: tuple[Comparison, ...] = ()
    more_images: int | None = None


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
    dry_run: bool = False  # its version is published and judged, and does not go live


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
    last_example: str | None = None  # the newest example that it was made from; None: made before this was kept
    pinned: bool = False  # never pruned
    pruned_at: datetime | None = None  # when its folder was removed; the row stays

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
class StoredObject:
    """One object of the storage, as a listing shows it."""

    key: str
    size_bytes: int
    modified_at: datetime


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


def example_key(model: str, digest: str) -> str:
    """The storage key of an example's bytes."""
    return f"examples/{model}/{digest[:2]}/{digest}"


def version_key(model: str, number: int) -> str:
    """The storage key of a version's folder: `models/<model>/<number>`, as TensorFlow Serving wants it."""
    return f"models/{model}/{number}"


def check_model_name(name: str) -> str:
    """Return `name`, or raise InvalidRequest if it cannot name a model (it becomes part of paths)."""
    check(re.fullmatch(NAME_PATTERN, name) is not None, "model name", name, f"a match of {NAME_PATTERN}")
    return name


def check_classes(classes: tuple[str, ...]) -> tuple[str, str]:
    """Return exactly two different class names in the given order and one spelling, or raise InvalidRequest."""
    names = [canonical_label(label) for label in classes]
    for name in names:
        check(re.fullmatch(LABEL_PATTERN, name) is not None, "class name", name, "1-64 printable ones but / and \\")
    check(len(names) == 2 and len(set(names)) == 2, "classes", names, "exactly two different names")
    return names[0], names[1]


def canonical_label(label: str) -> str:
    """The one spelling of a class name: composed (NFC, where macOS names folders decomposed), no blanks around it."""
    return unicodedata.normalize("NFC", label).strip(" ")


def class_of(label: str, classes: tuple[str, str]) -> str | None:
    """Which of the two classes a client means by `label`; None where it is neither."""
    return next((name for name in classes if canonical_label(name) == canonical_label(label)), None)
