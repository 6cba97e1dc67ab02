"""What a client may ask of learning: examples and retrains, beside its `Catalogue` of models and versions. LINE B 1-2.

Everything here is synchronous and thread-safe; protocols call it from worker threads.
"""

import hashlib
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from contract.errors import ClassesNotDeclared, InvalidDataset, InvalidRequest, UnknownLabel
from contract.image_files import without_metadata
from contract.images import ImageHeader, ImageLimits, Pixels, inspect, thumbnail
from contract.keys import LOCAL_ACTOR, Contributor
from contract.ports import Database, Storage
from contract.recipe import SHORT, Recipe, change_recipe
from contract.records import Bucket, Example, ExampleCount, GatePolicy, Job, JobState, Model, Progress, class_of
from contract.settings import Settings
from service.learning_catalogue import Catalogue
from service.lineage import Deletion, trace
from service.split import NOTHING, Asked, place

THUMBNAIL_SIDE = 8  # enough to tell what is alike
DECODES_AT_ONCE = 2  # a 25-megapixel picture is 75 MB while it is looked at
FEWEST_TO_TRAIN = 2
PAGE = 1000
FILE_NAME_LENGTH = 255


class Learning(Catalogue):
    """The learning half of the service: what `Catalogue` has, and the examples and jobs that make versions.

    Args:
        on_change: called after what should be live may have changed; must be thread-safe.
    """

    def __init__(self, database: Database, storage: Storage, settings: Settings, on_change: Callable[[], None]) -> None:
        super().__init__(database, storage, on_change)
        self._settings = settings
        self._limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        self._decoding = threading.BoundedSemaphore(DECODES_AT_ONCE)

    # Examples
    def check_label(self, name: str, label: str) -> Model:
        """Return the model if `label` is one of its classes.

        Raises:
            UnknownModel, ClassesNotDeclared, UnknownLabel
        """
        model, classes = self.declared(name)
        if class_of(label, classes) is None:
            raise UnknownLabel(f"{SHORT.repr(label)} is not a class of model {name!r}; expected {_either(classes)}.")
        return model

    def declared(self, name: str) -> tuple[Model, tuple[str, str]]:
        """A model and its classes; ClassesNotDeclared where it has none yet."""
        model = self._database.get_model(name)
        if model.classes is None:
            raise ClassesNotDeclared(
                f"Model {name!r} does not know its two classes yet; declare them with POST /api/v1/models."
            )
        return model, model.classes

    def add_example(
        self,
        model: Model,
        *,
        label: str,
        data: bytes,
        file: str,
        contributor: Contributor,
        asked: Asked = NOTHING,
    ) -> tuple[Example, bool]:
        """Store one labelled image whose label was checked.

        Args:
            data: encoded JPEG, PNG or WebP.
            file: the client's name for it.
            contributor: who supplies it.
            asked: which bucket and group, if any.

        Returns:
            The stored example, and whether it is new: the same bytes twice are one example. Its digest is that of what
            is stored: the file without its metadata.

        Raises:
            InvalidImage, ImageTooLarge: `data` cannot be used.
            LabelConflict: the same image has the other label.
            PermissionDenied: the contributor is not trusted with the bucket.
        """
        header, data, digest = self.examine(data)
        group = asked.group or digest
        example = Example(
            id=f"{time.time_ns():016x}{secrets.token_hex(4)}",
            model=model.name,
            digest=digest,
            label=class_of(label, model.classes or (label, label)) or label,
            bucket=place(model.split_key, group, asked.bucket, contributor),
            group_id=group,
            file=_file_name(file),
            format=header.format,
            width=header.width,
            height=header.height,
            size_bytes=len(data),
            created_at=self._database.now(),
            bucket_named=asked.bucket is not None or not contributor.trusted,
            contributor=contributor.name,
            trusted=contributor.trusted,
        )
        with self._locks.of(digest):
            self._storage.put(example.storage_key, data)  # first the object: a row always has one
            return self._database.add_example(example)

    def examine(self, data: bytes) -> tuple[ImageHeader, bytes, str]:
        """What would be stored of an image: its header, its bytes without metadata, and their digest.

        Raises:
            InvalidImage, ImageTooLarge: it cannot be used.
        """
        with self._decoding:
            header = inspect(data, self._limits)
        kept = without_metadata(data, header.format, header.orientation)
        return header, kept, hashlib.sha256(kept).hexdigest()

    def thumbnail(self, data: bytes) -> Pixels:
        """What an image looks like from afar: (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3) uint8. Raises as `examine`."""
        with self._decoding:
            return thumbnail(data, THUMBNAIL_SIDE, self._limits)

    def stored_labels(self, model: str) -> Iterator[tuple[str, str]]:
        """The digest and the label of each example of a model, a page at a time."""
        after: str | None = None
        while page := self._database.list_examples(model, limit=PAGE, after=after):
            yield from ((example.digest, example.label) for example in page)
            after = page[-1].id

    def examples(
        self, model: str, *, label: str | None, bucket: Bucket | None, limit: int, after: str | None
    ) -> tuple[list[Example], list[ExampleCount]]:
        """One page of a model's examples, oldest first, and the counts of all of them."""
        classes = self._database.get_model(model).classes
        if label is not None and classes is not None:
            label = class_of(label, classes) or label
        page = self._database.list_examples(model, label=label, bucket=bucket, limit=limit, after=after)
        return page, self.counts(model)

    def counts(self, model: str) -> list[ExampleCount]:
        """How many examples a model has, per label and bucket."""
        return [count for count in self._database.count_examples() if count.model == model]

    def delete_example(self, model: str, example_id: str, *, actor: str = LOCAL_ACTOR) -> Deletion:
        """Remove an example and its image; the answer names the versions that learnt from it, which stay."""
        example = self._database.get_example(model, example_id)
        with self._locks.of(example.digest):
            self._database.delete_example(model, example_id, actor=actor)
            self._storage.delete(example.storage_key)  # after its row: a crash leaves no row without one
        return trace(example, self._database.list_versions(model), self._files)

    # Jobs
    def start(
        self,
        model: str,
        *,
        changes: Mapping[str, object],
        gate_policy: GatePolicy | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a retraining, or return the earlier one of the same idempotency key.

        Args:
            changes: recipe fields that differ from the service's default recipe.
            gate_policy: None is the service's default.
            dry_run: train, judge and publish, but promote nothing.

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
            dry_run=dry_run,
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
                f"recipe.weights is {SHORT.repr(name)}; expected auto, imagenet, none, or the name of a file in the "
                "folder `weights` of the service's home."
            )
        return folder / name

    def _check_trainable(self, model: Model) -> None:
        if model.classes is None:
            raise ClassesNotDeclared(
                f"Model {model.name!r} has no classes and no images; declare them with POST /api/v1/models, "
                "then upload labelled images with POST /api/v1/examples."
            )
        counts = {(count.label, count.bucket): count.count for count in self.counts(model.name)}
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
