"""What our REST answers and takes, as types: the OpenAPI page is made from them. LINE A step 1, LINE B steps 1-2."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field, Strict
from starlette.responses import Response

from contract.artifact import Manifest
from contract.records import (
    Bucket,
    Example,
    ExampleCount,
    GatePolicy,
    Job,
    LiveChange,
    Metrics,
    Model,
    Verdict,
    VersionState,
)
from service.feedback import Proposal
from service.lineage import Deletion, Trace
from service.predictor import MAX_IMAGES
from service.review_choice import Reason

REQUEST_ID_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"


def json_response(answer: object, status: int = 200) -> Response:
    """Encode an answer; msgspec does it several times faster than a validating model would."""
    return Response(msgspec.json.encode(answer), status, media_type="application/json")


@dataclass(frozen=True)
class ErrorText:
    """What went wrong: `code` is stable, `message` is for people."""

    code: str
    message: str


@dataclass(frozen=True)
class ErrorBody:
    """An error of the whole request; `request_id` finds it in the service's log."""

    code: str
    message: str
    request_id: str


@dataclass(frozen=True)
class ErrorAnswer:
    """Every answer above 399."""

    error: ErrorBody


@dataclass(frozen=True)
class ModelVersion:
    """Which version of which model answered."""

    name: str
    version: int


@dataclass(frozen=True)
class Predicted:
    """One image's answer. `probability` is of the model's second class; `file` is the name that the client gave."""

    label: str
    probability: float
    threshold: float
    file: str | None


@dataclass(frozen=True)
class Refused:
    """One image that could not be used."""

    file: str | None
    error: ErrorText


@dataclass(frozen=True)
class PredictAnswer:
    """One entry per image, in the order of the request."""

    request_id: str
    model: ModelVersion
    predictions: tuple[Predicted | Refused, ...]


@dataclass(frozen=True)
class StoredExample:
    """One uploaded image; `duplicate` says that the same bytes were there before."""

    id: str
    file: str
    label: str
    bucket: Bucket
    digest: str
    duplicate: bool

    @classmethod
    def of(cls, example: Example, name: str, *, duplicate: bool) -> "StoredExample":
        """`name` as the client gave it."""
        return cls(example.id, name, example.label, example.bucket, example.digest, duplicate)


@dataclass(frozen=True)
class AddExamplesAnswer:
    """What was stored and what was not."""

    examples: tuple[StoredExample, ...]
    rejected: tuple[Refused, ...]


@dataclass(frozen=True)
class ImportAnswer:
    """What became of an archive: new examples per class, images that were there before, files that are no images."""

    added: Mapping[str, int]
    duplicates: int
    skipped: int
    rejected: tuple[Refused, ...]


@dataclass(frozen=True)
class ExamplesAnswer:
    """One page, oldest first; `next` is the `after` of the next page. `counts` are of all examples."""

    examples: tuple[Example, ...]
    counts: tuple[ExampleCount, ...]
    next: str | None


@dataclass(frozen=True, kw_only=True)
class DeletedExampleAnswer(Example):
    """What was deleted, and which versions it went into."""

    trained_versions: tuple[Trace, ...]
    judged_versions: tuple[Trace, ...]
    copies_in: tuple[int, ...]

    @classmethod
    def of(cls, deletion: Deletion) -> "DeletedExampleAnswer":
        """The example's own fields, and its traces beside them."""
        return cls(
            **vars(deletion.example),
            trained_versions=deletion.trained_versions,
            judged_versions=deletion.judged_versions,
            copies_in=deletion.copies_in,
        )


@dataclass(frozen=True)
class ReviewEntry:
    """One image of a recent prediction that has no label yet; `reason` says why it is worth one."""

    request_id: str
    index: int
    model: str
    version: int
    label: str
    probability: float
    threshold: float
    file: str
    predicted_at: datetime
    reason: Reason

    @classmethod
    def of(cls, proposal: Proposal) -> "ReviewEntry":
        """The prediction, without its image."""
        image, said = proposal.image, proposal.image.prediction
        return cls(
            request_id=image.request_id,
            index=image.index,
            model=image.model,
            version=image.version,
            label=said.label,
            probability=said.probability,
            threshold=said.threshold,
            file=image.file,
            predicted_at=datetime.fromtimestamp(image.kept_at, UTC),
            reason=proposal.reason,
        )


@dataclass(frozen=True)
class ReviewAnswer:
    """What people should look at, most useful first."""

    predictions: tuple[ReviewEntry, ...]


@dataclass(frozen=True)
class ModelAnswer:
    """One question. `live_version` is the declared one."""

    name: str
    classes: tuple[str, str] | None
    live_version: int | None
    created_at: datetime
    pinned: bool

    @classmethod
    def of(cls, model: Model) -> "ModelAnswer":
        """The record without its split key, which is a secret."""
        return cls(model.name, model.classes, model.live_version, model.created_at, model.pinned)


@dataclass(frozen=True)
class ModelsAnswer:
    """All models."""

    models: tuple[ModelAnswer, ...]


@dataclass(frozen=True)
class JobsAnswer:
    """A model's jobs, newest first."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class ServiceStatus:
    """What the service did with a version: `OK`, or the name of an error and its reason."""

    error_code: str
    message: str
    runtime: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionAnswer:
    """One version. `state` is TensorFlow Serving's; END where it is not loaded. `live` is the one that answers.

    `pruned_at`: when its files were removed; only its record is left, and it has no manifest any more.
    """

    version: int
    state: VersionState
    live: bool
    status: ServiceStatus
    metrics: Metrics
    verdict: Verdict
    parent: int | None
    job_id: str
    created_at: datetime
    training_seconds: float
    pinned: bool
    pruned_at: datetime | None
    manifest: Manifest | None = None


@dataclass(frozen=True)
class VersionsAnswer:
    """`live` answers now, `aspired` should; they differ while a version loads or if it cannot. All newest first."""

    live: int | None
    aspired: int | None
    versions: tuple[VersionAnswer, ...]
    history: tuple[LiveChange, ...]


@dataclass(frozen=True)
class HealthAnswer:
    """The service is alive, or ready."""

    status: str


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)  # "3" and true are no numbers


class CreateModelBody(_Body):
    """`classes` may come later, but never change: `classes[1]` is the one that probabilities speak of."""

    name: str = Field(examples=["default"])
    classes: Annotated[tuple[str, str] | None, Strict(False)] = Field(default=None, examples=[["apple", "orange"]])


class PinModelBody(_Body):
    """Whether its engine stays loaded."""

    pinned: bool


class GateBody(_Body):
    """When the new version goes live without a person; with `dry_run` not at all, but it is made and judged."""

    policy: Annotated[GatePolicy, Strict(False)] | None = None
    dry_run: bool = False


class RetrainBody(_Body):
    """What differs from the service's default recipe and gate."""

    recipe: dict[str, str | int | float | None] = Field(
        default_factory=dict, examples=[{"backbone": "MobileNetV2", "head_epochs": 5, "tail_epochs": 10}]
    )
    gate: GateBody | None = None


class FeedbackBody(_Body):
    """`label`, or whether the predicted one was `correct`; `index` is of the image in its request, from 0."""

    request_id: str = Field(pattern=REQUEST_ID_PATTERN, examples=["5f0c8be0c7f94f6fb3a87b6dd3f7d1c2"])
    index: int = Field(default=0, ge=0, lt=MAX_IMAGES)
    label: str | None = Field(default=None, examples=["apple"])
    correct: bool | None = None


class PromoteBody(_Body):
    """`reason` is kept in the history."""

    reason: str = Field(min_length=1, max_length=1000, examples=["checked by hand on last week's pictures"])


class RollbackBody(_Body):
    """`reason` is kept in the history."""

    reason: str = Field(default="", max_length=1000)
