"""What a client may ask of learning: examples, retrains, promotions. LINE B steps 1-2.

Everything here is synchronous and thread-safe; protocols call it from worker threads.
"""

import hashlib
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from contract.artifact import Manifest, read_manifest
from contract.errors import (
    ClassesNotDeclared,
    InvalidDataset,
    InvalidRequest,
    UnknownLabel,
    UnknownVersion,
)
from contract.images import ImageLimits, inspect
from contract.ports import Database, Storage
from contract.recipe import Recipe, change_recipe
from contract.records import (
    Bucket,
    ChangeKind,
    Example,
    ExampleCount,
    GatePolicy,
    Job,
    JobState,
    LiveChange,
    Model,
    Progress,
    Version,
    check_classes,
    check_model_name,
)
from contract.settings import Settings
from service.split import choose_bucket

DECODES_AT_ONCE = 2  # a 25-megapixel picture is 75 MB while it is looked at
LOCKS = 64
CURVES = "curves.png"
FEWEST_TO_TRAIN = 2
FILE_NAME_LENGTH = 255
REASON_LENGTH = 1000


@dataclass(frozen=True)
class VersionRows:
    """All that the database knows of a model's versions; `aspired` is the one that should be live."""

    aspired: int | None
    versions: tuple[Version, ...]
    history: tuple[LiveChange, ...]


class Learning:
    """The learning half of the service.

    Args:
        on_change: called after what should be live may have changed; must be thread-safe.
    """

    def __init__(self, database: Database, storage: Storage, settings: Settings, on_change: Callable[[], None]) -> None:
        self._database = database
        self._storage = storage
        self._settings = settings
        self._on_change = on_change
        self._limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        self._decoding = threading.BoundedSemaphore(DECODES_AT_ONCE)
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    # Models
    def create_model(self, name: str, classes: tuple[str, ...] | None) -> Model:
        """Create a model or declare its classes; the same again changes nothing.

        Raises:
            InvalidRequest: a name or class name that cannot be used, or not two classes.
            ClassesFixed: it has other classes.
        """
        checked = None if classes is None else check_classes(classes)
        model = self._database.create_model(check_model_name(name), checked)
        self._on_change()
        return model

    def model(self, name: str) -> Model:
        """One model, or UnknownModel."""
        return self._database.get_model(name)

    def models(self) -> list[Model]:
        """All models."""
        return self._database.list_models()

    # Examples
    def check_label(self, name: str, label: str) -> Model:
        """Return the model if `label` is one of its classes.

        Raises:
            UnknownModel, ClassesNotDeclared, UnknownLabel
        """
        model = self._database.get_model(name)
        if model.classes is None:
            raise ClassesNotDeclared(
                f"Model {name!r} does not know its two classes yet; declare them with POST /api/v1/models."
            )
        if label not in model.classes:
            raise UnknownLabel(f"{label!r} is not a class of model {name!r}; expected {_either(model.classes)}.")
        return model

    def add_example(
        self, model: Model, *, label: str, data: bytes, file: str, bucket: Bucket | None = None
    ) -> tuple[Example, bool]:
        """Store one labelled image whose label was checked.

        Args:
            data: encoded JPEG, PNG or WebP.
            file: the client's name for it.
            bucket: None chooses by the image's digest.

        Returns:
            The stored example, and whether it is new: the same bytes twice are one example.

        Raises:
            InvalidImage, ImageTooLarge: `data` cannot be used.
            LabelConflict: the same image has the other label.
        """
        with self._decoding:
            header = inspect(data, self._limits)
        digest = hashlib.sha256(data).hexdigest()
        example = Example(
            id=f"{time.time_ns():016x}{secrets.token_hex(4)}",
            model=model.name,
            digest=digest,
            label=label,
            bucket=bucket or choose_bucket(model.split_key, digest),
            group_id=digest,
            file=_file_name(file),
            format=header.format,
            width=header.width,
            height=header.height,
            size_bytes=len(data),
            created_at=self._database.now(),
        )
        with self._lock(digest):
            self._storage.put(example.storage_key, data)  # first the object: a row always has one
            return self._database.add_example(example)

    def examples(
        self, model: str, *, label: str | None, bucket: Bucket | None, limit: int, after: str | None
    ) -> tuple[list[Example], list[ExampleCount]]:
        """One page of a model's examples, oldest first, and the counts of all of them."""
        self._database.get_model(model)
        page = self._database.list_examples(model, label=label, bucket=bucket, limit=limit, after=after)
        return page, self._counts(model)

    def delete_example(self, model: str, example_id: str) -> Example:
        """Remove an example and its image. Versions that learnt from it stay as they are."""
        example = self._database.get_example(model, example_id)
        with self._lock(example.digest):
            self._database.delete_example(model, example_id)
            self._storage.delete(example.storage_key)
        return example

    # Jobs
    def start(
        self,
        model: str,
        *,
        changes: Mapping[str, object],
        gate_policy: GatePolicy | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a retraining, or return the earlier one of the same idempotency key.

        Args:
            changes: recipe fields that differ from the service's default recipe.
            gate_policy: None is the service's default.

        Raises:
            InvalidRequest: a recipe that cannot be used.
            ClassesNotDeclared, InvalidDataset: there is nothing to train on yet.
            IdempotencyConflict: the key came with another request.
        """
        recipe = self._recipe(changes)
        self._check_trainable(self._database.get_model(model))
        job = Job(
            id=uuid.uuid4().hex,
            model=model,
            state=JobState.QUEUED,
            recipe=recipe,
            gate_policy=gate_policy or self._settings.gate_policy,
            progress=Progress(),
            created_at=self._database.now(),
            idempotency_key=idempotency_key,
        )
        return self._database.create_job(job)[0]

    def job(self, model: str, job_id: str) -> Job:
        """One job, or UnknownJob."""
        return self._database.get_job(model, job_id)

    def jobs(self, model: str, *, limit: int) -> list[Job]:
        """A model's jobs, newest first."""
        self._database.get_model(model)
        return self._database.list_jobs(model, limit=limit)

    def cancel(self, model: str, job_id: str) -> Job:
        """Ask for a job's end; a running one ends within seconds. JobFinished where it is too late."""
        return self._database.request_cancel(model, job_id)

    # Versions
    def versions(self, model: str) -> VersionRows:
        """A model's versions and live changes, newest first."""
        return VersionRows(
            aspired=self._database.get_model(model).live_version,
            versions=tuple(self._database.list_versions(model)),
            history=tuple(self._database.list_live_changes(model)),
        )

    def promote(self, model: str, number: int, *, reason: str) -> LiveChange:
        """Declare a version live, whatever the gate said of it; the reason is kept."""
        if not reason.strip():
            raise InvalidRequest("The reason is empty; expected why this version should be live, for the history.")
        change = self._database.promote(model, number, kind=ChangeKind.MANUAL, reason=reason[:REASON_LENGTH])
        self._on_change()
        return change

    def rollback(self, model: str, *, reason: str) -> LiveChange:
        """Declare the version live that the present one replaced."""
        change = self._database.rollback(model, reason=reason[:REASON_LENGTH])
        self._on_change()
        return change

    def manifest(self, model: str, number: int) -> Manifest:
        """The manifest of any published version, loaded or not."""
        return read_manifest(self._folder(model, number))

    def curves(self, model: str, number: int) -> bytes:
        """The training curves of a version, a PNG."""
        path = self._folder(model, number) / CURVES
        if not path.is_file():
            raise UnknownVersion(f"Version {number} of model {model!r} was published without curves.")
        return path.read_bytes()

    def _folder(self, model: str, number: int) -> Path:
        return self._storage.local_folder(self._database.get_version(model, number).storage_key)

    def _lock(self, digest: str) -> threading.Lock:
        return self._locks[int(digest[:8], 16) % LOCKS]  # else a delete could take the object of a row just added

    def _counts(self, model: str) -> list[ExampleCount]:
        return [count for count in self._database.count_examples() if count.model == model]

    def _recipe(self, changes: Mapping[str, object]) -> Recipe:
        recipe = change_recipe(self._settings.recipe, changes)
        if "weights" not in changes or recipe.weights in ("auto", "imagenet", "none"):
            return recipe
        return replace(recipe, weights=str(self._weights_file(recipe.weights)))

    def _weights_file(self, name: str) -> Path:
        """A client names a file in one folder of ours, never any other file of this machine."""
        folder = self._settings.home / "weights"
        if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", name) is None or not (folder / name).is_file():
            raise InvalidRequest(
                f"recipe.weights is {name!r}; expected auto, imagenet, none, or the name of a file in {folder}."
            )
        return folder / name

    def _check_trainable(self, model: Model) -> None:
        if model.classes is None:
            raise ClassesNotDeclared(
                f"Model {model.name!r} has no classes and no images; declare them with POST /api/v1/models, "
                "then upload labelled images with POST /api/v1/examples."
            )
        counts = {(count.label, count.bucket): count.count for count in self._counts(model.name)}
        for label in model.classes:
            for bucket, fewest in ((Bucket.TRAIN, FEWEST_TO_TRAIN), (Bucket.HOLDOUT, 1)):
                found = counts.get((label, bucket), 0)
                if found < fewest:
                    raise InvalidDataset(
                        f"Class {label!r} has {found} images in the {bucket} bucket; at least {fewest} are needed. "
                        "Upload more with POST /api/v1/examples (bucket=holdout puts an image into the hold-out)."
                    )


def _either(classes: tuple[str, str]) -> str:
    return f"{classes[0]!r} or {classes[1]!r}"


def _file_name(name: str) -> str:
    """The client's file name without folders and without characters that cannot be printed or stored."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in last if c.isprintable() and not 0xD800 <= ord(c) < 0xE000)[:FILE_NAME_LENGTH]
