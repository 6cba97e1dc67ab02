"""The Python client: one method per thing that the service's REST API can do. Neither line: the caller of both."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import httpx
import msgspec

from ripen.answers import (
    Added,
    AddedExample,
    Answer,
    DeletedExample,
    Examples,
    ImportedArchive,
    Job,
    LiveChange,
    Model,
    Review,
    Version,
    Versions,
)
from ripen.connection import COME_BACK_LATER, Connection, File, Request, Upload
from ripen.credentials import Trust
from ripen.errors import ApiError, ServiceUnreachable

DEFAULT_URL = "http://127.0.0.1:8501"
DEFAULT_MODEL = "default"
NOT_FOUND = 404
RECONNECTS = 40
RECONNECT_PAUSE_S = 0.5
Image = bytes | str | Path
Setting = str | int | float | None


class Client:
    """A connection to one Ripen service, for one of its models. Thread-safe.

    Args:
        url: where the service's REST API listens.
        model: which yes/no question.
        timeout_s: per request, in seconds.
        api_key: where the service asks for one; None is the environment's RIPEN_API_KEY, if it is set.
        trust: a PEM file of the authorities to trust over https, or an SSL context; None is RIPEN_CA_FILE, or the
            authorities that everybody trusts.

    Raises:
        InvalidCredentials: key or file cannot be used.

    Every method raises `ServiceUnreachable`, `UnexpectedAnswer` or `ApiError`. Requests that may be repeated safely
    are, a few times, if the connection fails or the service answers 429 or 503.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        model: str = DEFAULT_MODEL,
        timeout_s: float = 30.0,
        *,
        api_key: str | None = None,
        trust: Trust = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.model = model
        self._query = {"model": model}
        self._connection = Connection(self.url, timeout_s, api_key, trust)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the sockets."""
        self._connection.close()

    # Predictions
    def predict(self, images: Image | Sequence[Image], *, version: int | None = None) -> Answer:
        """Classify images.

        Args:
            images: encoded JPEG, PNG or WebP, or paths of such files; at most 256.
            version: None asks the live one.

        Returns:
            One prediction per image, in order; an image that cannot be used has its `error` there. If none can be
            used, ApiError is raised with the first one's reason.
        """
        query = self._query if version is None else {**self._query, "version": str(version)}
        return self._connection.ask(Answer, Request("POST", "/api/v1/predict", query, files=_files(images)))

    # Models and examples
    def create_model(self, classes: Sequence[str] | None = None) -> Model:
        """Create this client's model, or declare its two classes; the same again changes nothing."""
        body = {"name": self.model, "classes": None if classes is None else list(classes)}
        return self._connection.ask(Model, Request("POST", "/api/v1/models", json=body))

    def get_model(self) -> Model:
        """This client's model: its classes and its declared version."""
        return self._connection.ask(Model, Request("GET", f"/api/v1/models/{_quoted(self.model)}"))

    def ensure_model(self) -> Model:
        """This client's model, made where there is none; a key without the role `admin` can get one that there is."""
        try:
            return self.get_model()
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return self.create_model()

    def models(self) -> tuple[Model, ...]:
        """All models of the service."""
        return self._connection.ask(_Models, Request("GET", "/api/v1/models")).models

    def pin_model(self, *, pinned: bool = True) -> Model:
        """Keep this client's model loaded whatever the memory budget says, or no longer."""
        path = f"/api/v1/models/{_quoted(self.model)}"
        return self._connection.ask(Model, Request("PATCH", path, json={"pinned": pinned}))

    def delete_model(self) -> Model:
        """Remove this client's model with all its images, jobs and versions. There is no way back."""
        path = f"/api/v1/models/{_quoted(self.model)}"
        return self._connection.ask(Model, Request("DELETE", path, repeatable=False))

    def add_examples(
        self, images: Image | Sequence[Image], label: str, *, bucket: str | None = None, group: str | None = None
    ) -> Added:
        """Store labelled images; the same bytes twice are one example.

        Args:
            images: encoded JPEG, PNG or WebP, or paths of such files.
            label: one of the model's two classes.
            bucket: `holdout` keeps them for judging; None lets the service choose for each group.
            group: of images that stay in one bucket (a camera, a patient); None: each alone, with what looks the same.

        Returns:
            What was stored and what was rejected. If nothing could be stored, ApiError is raised.
        """
        named = {"label": label, "bucket": bucket, "group": group}
        form = {name: value for name, value in named.items() if value is not None}
        request = Request("POST", "/api/v1/examples", self._query, form=form, files=_files(images))
        return self._connection.ask(Added, request)

    def import_archive(
        self, path: str | Path, *, partial: bool = False, on_sent: Callable[[int, int], None] = lambda *_: None
    ) -> ImportedArchive:
        """Store a zip of labelled images: `<class>/`, or `train/<class>/` and `validation/<class>/`.

        Args:
            partial: store what can be stored and list the rest; else one bad image refuses all of them.
            on_sent: called with (bytes sent, bytes in all).
        """
        query = {**self._query, "partial": "true"} if partial else self._query
        upload = Upload("/api/v1/examples:import", Path(path), "application/zip", query)
        return self._connection.upload(ImportedArchive, upload, on_sent)

    def examples(
        self, *, label: str | None = None, bucket: str | None = None, limit: int = 100, after: str | None = None
    ) -> Examples:
        """One page of stored examples, oldest first, and the counts of all."""
        asked = {"label": label, "bucket": bucket, "limit": str(limit), "after": after}
        query = self._query | {name: value for name, value in asked.items() if value is not None}
        return self._connection.ask(Examples, Request("GET", "/api/v1/examples", query))

    def delete_example(self, example_id: str) -> DeletedExample:
        """Remove a labelled image; the answer names the versions that it went into."""
        path = f"/api/v1/examples/{_quoted(example_id)}"
        return self._connection.ask(DeletedExample, Request("DELETE", path, self._query, repeatable=False))

    # Feedback
    def feedback(
        self, request_id: str, *, index: int = 0, label: str | None = None, correct: bool | None = None
    ) -> AddedExample:
        """Say what the image of a recent prediction shows; it is stored as a labelled image.

        Args:
            request_id: of the prediction's answer.
            index: the image's position in its request, from 0.
            label: one of the model's two classes; or
            correct: whether the predicted label was right.
        """
        said: dict[str, object] = {"request_id": request_id, "index": index}
        said |= {name: value for name, value in (("label", label), ("correct", correct)) if value is not None}
        return self._connection.ask(AddedExample, Request("POST", "/api/v1/feedback", self._query, said))

    def review(self, *, limit: int = 20) -> Review:
        """Images of recent predictions that are worth a label, most useful first."""
        return self._connection.ask(Review, Request("GET", "/api/v1/review", {**self._query, "limit": str(limit)}))

    def review_image(self, request_id: str, *, index: int = 0) -> bytes:
        """The image of a recent prediction, encoded, without its metadata."""
        path = f"/api/v1/review/{_quoted(request_id)}/{index}/image"
        return self._connection.fetch(Request("GET", path, self._query))

    # Jobs
    def retrain(
        self,
        recipe: Mapping[str, Setting] | None = None,
        *,
        gate_policy: str | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a retraining and return its job at once.

        Args:
            recipe: fields that differ from the service's default recipe.
            gate_policy: `cautious`, `balanced` or `always`; None is the service's default.
            dry_run: make and judge a version, promote nothing.
            idempotency_key: repeats with the same key are the same job; None makes a new one.
        """
        body: dict[str, object] = {"recipe": dict(recipe or {})}
        gate = {"policy": gate_policy, "dry_run": dry_run or None}
        if asked := {name: value for name, value in gate.items() if value is not None}:
            body["gate"] = asked
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._connection.ask(Job, Request("POST", "/api/v1/retrain", self._query, json=body, headers=headers))

    def jobs(self) -> tuple[Job, ...]:
        """This model's jobs, newest first."""
        return self._connection.ask(_Jobs, Request("GET", "/api/v1/jobs", self._query)).jobs

    def job(self, job_id: str) -> Job:
        """One job."""
        return self._connection.ask(Job, Request("GET", f"/api/v1/jobs/{_quoted(job_id)}", self._query))

    def cancel(self, job_id: str) -> Job:
        """Ask for a job's end; a running one ends within seconds."""
        path = f"/api/v1/jobs/{_quoted(job_id)}:cancel"
        return self._connection.ask(Job, Request("POST", path, self._query, repeatable=False))

    def watch(self, job_id: str) -> Iterator[Job]:
        """Yield the job whenever it changes, lastly as it ended. Reconnects where the service is restarted."""
        path = f"/api/v1/jobs/{_quoted(job_id)}/events"
        silence = 0
        while silence <= RECONNECTS:
            try:
                for job in self._connection.events(Job, path, self._query):
                    silence = 0
                    yield job
                    if job.ended:
                        return
            except httpx.TransportError:
                pass  # the service may be coming back
            except ApiError as error:
                if error.status not in COME_BACK_LATER:
                    raise
            silence += 1
            time.sleep(RECONNECT_PAUSE_S)
        raise ServiceUnreachable(f"The progress of job {job_id} can no longer be read from {self.url}.")

    # Versions
    def versions(self) -> Versions:
        """What was published, what the gate said of it, and which version answers."""
        return self._connection.ask(Versions, Request("GET", "/api/v1/versions", self._query))

    def promote(self, version: int, reason: str) -> LiveChange:
        """Put a version live, whatever the gate said; the reason is kept."""
        request = Request(
            "POST", f"/api/v1/versions/{version}:promote", self._query, {"reason": reason}, repeatable=False
        )
        return self._connection.ask(LiveChange, request)

    def pin(self, version: int, *, pinned: bool = True) -> Version:
        """Keep a version's files whatever retention says, or no longer."""
        verb = "pin" if pinned else "unpin"
        return self._connection.ask(Version, Request("POST", f"/api/v1/versions/{version}:{verb}", self._query))

    def delete_version(self, version: int) -> Version:
        """Remove a version's files; its record stays."""
        return self._connection.ask(Version, Request("DELETE", f"/api/v1/versions/{version}", self._query))

    def rollback(self, reason: str = "") -> LiveChange:
        """Put the version live again that the present one replaced."""
        request = Request("POST", "/api/v1/versions:rollback", self._query, {"reason": reason}, repeatable=False)
        return self._connection.ask(LiveChange, request)

    # The service
    def ready(self) -> str | None:
        """None if the service is ready, else what it still waits for."""
        try:
            self._connection.ask(_Health, Request("GET", "/readyz", repeatable=False))
        except ApiError as error:
            if error.status in COME_BACK_LATER:
                return str(error)
            raise
        return None


class _Models(msgspec.Struct):
    models: tuple[Model, ...]


class _Jobs(msgspec.Struct):
    jobs: tuple[Job, ...]


class _Health(msgspec.Struct):
    status: str


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _files(images: Image | Sequence[Image]) -> tuple[File, ...]:
    """Read what lies on the disk; bytes get a number for a name."""
    every = [images] if isinstance(images, Image) else images
    return tuple(
        (f"{number}", image) if isinstance(image, bytes) else (Path(image).name, Path(image).read_bytes())
        for number, image in enumerate(every)
    )
