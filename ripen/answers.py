"""What the service answers, as frozen dataclasses. Neither line: the client's view of both.

Fields that a newer service adds are ignored. Probability is always of the model's second class, in [0, 1].
"""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class ErrorText:
    """What went wrong with one image: `code` is stable, `message` is for people."""

    code: str
    message: str


@dataclass(frozen=True)
class ModelVersion:
    """Which version of which model answered."""

    name: str
    version: int


@dataclass(frozen=True)
class Prediction:
    """One image's answer, or its `error`: then the other fields are None."""

    file: str | None = None
    label: str | None = None
    probability: float | None = None
    threshold: float | None = None
    error: ErrorText | None = None


@dataclass(frozen=True)
class Answer:
    """One prediction per image, in the order of the request."""

    request_id: str
    model: ModelVersion
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class Rejected:
    """One file that was not stored, and why."""

    file: str | None
    error: ErrorText


@dataclass(frozen=True)
class AddedExample:
    """One stored image; `duplicate` says that the same bytes were there before."""

    id: str
    file: str
    label: str
    bucket: str
    digest: str
    duplicate: bool


@dataclass(frozen=True)
class Added:
    """What one upload stored and what it did not."""

    examples: tuple[AddedExample, ...]
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class Proposed:
    """An image of a recent prediction that is worth a label: `reason` is typical, uncertain or random."""

    request_id: str
    index: int
    model: str
    version: int
    label: str
    probability: float
    threshold: float
    file: str
    predicted_at: datetime
    reason: str

    @property
    def named(self) -> str:
        """As `ripen feedback` takes it."""
        return f"{self.request_id}/{self.index}"


@dataclass(frozen=True)
class Review:
    """Which predictions to look at next, most useful first."""

    predictions: tuple[Proposed, ...]


@dataclass(frozen=True)
class ImportedArchive:
    """What became of a zip's files: new examples per class, images that were there before, files that are no images."""

    added: dict[str, int]
    duplicates: int
    skipped: int
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class Example:
    """One labelled image as it is stored."""

    id: str
    file: str
    label: str
    bucket: str
    digest: str


@dataclass(frozen=True)
class Trace:
    """A version that an image went into, and as what; a pruned one has no files any more."""

    version: int
    bucket: str
    pruned: bool


@dataclass(frozen=True)
class DeletedExample:
    """A deleted image and the versions that it went into: they learnt from it, were judged on it, or hold a copy."""

    id: str
    file: str
    label: str
    bucket: str
    digest: str
    trained_versions: tuple[Trace, ...]
    judged_versions: tuple[Trace, ...]
    copies_in: tuple[int, ...]


@dataclass(frozen=True)
class ExampleCount:
    """How many examples a model has under one label in one bucket."""

    label: str
    bucket: str
    count: int


@dataclass(frozen=True)
class Examples:
    """One page of examples, oldest first; `next` is the `after` of the next page. `counts` are of all."""

    examples: tuple[Example, ...]
    counts: tuple[ExampleCount, ...]
    next: str | None = None


@dataclass(frozen=True)
class Model:
    """One yes/no question. `classes` is None until it is declared."""

    name: str
    classes: tuple[str, str] | None
    live_version: int | None
    pinned: bool = False


@dataclass(frozen=True)
class Metrics:
    """A version on the hold-out, at its threshold. `auc`, `precision` and `recall` may be undefined."""

    count: int
    accuracy: float
    log_loss: float
    auc: float | None = None
    precision: float | None = None
    recall: float | None = None


@dataclass(frozen=True)
class Difference:
    """The new version's figure minus the live one's, and the interval in which the true difference may lie."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Both versions on one slice of the hold-out, "all" is the whole; `judged` is false where it has too few images."""

    slice: str
    count: int
    judged: bool
    protected: bool
    candidate_accuracy: float
    live_accuracy: float
    only_candidate_right: int
    only_live_right: int
    p_value: float | None = None
    log_loss: Difference | None = None
    auc: Difference | None = None


@dataclass(frozen=True)
class Verdict:
    """What the gate said, and why, in words: `decision` is promote, reject or inconclusive.

    `more_images` is about how many more hold-out images would help to decide.
    """

    decision: str
    policy: str
    reasons: tuple[str, ...]
    candidate: Metrics
    live: Metrics | None = None
    live_version: int | None = None
    comparisons: tuple[Comparison, ...] = ()
    more_images: int | None = None


@dataclass(frozen=True)
class Epoch:
    """One epoch's end; `epoch` counts from 1."""

    epoch: int
    phase: str
    loss: float
    accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How far a job is; `fraction` of the whole job is in [0, 1]."""

    step: str = "queued"
    fraction: float = 0.0
    eta_s: float | None = None
    epoch: int = 0
    epochs: int = 0
    message: str = ""
    warnings: tuple[str, ...] = ()
    history: tuple[Epoch, ...] = ()


@dataclass(frozen=True)
class Job:
    """One retraining. `state` is queued, running, succeeded, failed or cancelled."""

    id: str
    model: str
    state: str
    created_at: datetime
    progress: Progress = field(default_factory=Progress)
    version: int | None = None
    verdict: Verdict | None = None
    failure: ErrorText | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    dry_run: bool = False

    @property
    def ended(self) -> bool:
        return self.state in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class ServiceStatus:
    """What the service did with a version: `error_code` is OK, or why it is not served.

    `runtime` is what it runs on, `notes` why on nothing faster.
    """

    error_code: str = "OK"
    message: str = ""
    runtime: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """One published version. `state` is TensorFlow Serving's; END where it is not loaded."""

    version: int
    state: str
    live: bool
    metrics: Metrics
    verdict: Verdict
    job_id: str
    created_at: datetime
    training_seconds: float
    parent: int | None = None
    status: ServiceStatus = field(default_factory=ServiceStatus)
    pinned: bool = False
    pruned_at: datetime | None = None


@dataclass(frozen=True)
class LiveChange:
    """One line of a model's history: `version` went live in place of `replaced`."""

    version: int
    replaced: int | None
    kind: str
    reason: str
    created_at: datetime


@dataclass(frozen=True)
class Versions:
    """`live` answers now, `aspired` should; they differ while a version loads. All newest first."""

    live: int | None
    aspired: int | None
    versions: tuple[Version, ...]
    history: tuple[LiveChange, ...] = ()
