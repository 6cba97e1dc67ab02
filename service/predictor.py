"""LINE A: admit -> lease -> queue -> decode and infer -> decide. What every protocol calls, and nothing else."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from contract.artifact import Manifest
from contract.errors import DeadlineExceeded, ImageTooLarge, InvalidRequest, Overloaded, RipenError, Unavailable
from contract.images import Pixels, refuse_size
from contract.records import Prediction
from contract.settings import Settings
from service.batcher import ALWAYS_TAKEN
from service.engine_wire import EngineImage
from service.kept_images import KeptImages
from service.loaded_version import LoadedVersion
from service.metrics import Metrics
from service.versions import Versions

MAX_IMAGES = 256


@dataclass(frozen=True)
class PredictRequest:
    """One question.

    Attributes:
        model: its name.
        images: encoded JPEG, PNG or WebP images, or (N, H, W, 3) uint8 pixels of the version's own size.
        version: None for the live one.
        timeout_s: the caller's remaining time; None for `settings.request_timeout_s`, which is also the cap.
        request_id: under which feedback names the answer; none: it cannot be named.
        files: the client's names for the images, as far as it gave any.
    """

    model: str
    images: Sequence[bytes] | Pixels
    version: int | None = None
    timeout_s: float | None = None
    request_id: str = ""
    files: Sequence[str | None] = ()


@dataclass(frozen=True)
class Answer:
    """One prediction per image, in order; InvalidImage or ImageTooLarge where one image alone cannot be used."""

    model: str
    version: int
    classes: tuple[str, str]
    predictions: tuple[Prediction | RipenError, ...]


class Predictor:
    """Answers requests with whatever version is live when they come; `kept` holds their images for feedback."""

    def __init__(self, versions: Versions, metrics: Metrics, settings: Settings, kept: KeptImages) -> None:
        self._versions = versions
        self._kept = kept
        self._metrics = metrics
        self._settings = settings
        self._in_flight = 0
        metrics.watch_in_flight(lambda: self._in_flight)

    def refuse_early(
        self, model: str | None, version: int | None = None, timeout_s: float | None = None
    ) -> Overloaded | None:
        """Why a request that comes now would not be answered in time, before its images are read; None: it may be.

        Args:
            model: its name; None where only the images' message says it, which then must hold for every model.
            version, timeout_s: as in PredictRequest.
        """
        if self._in_flight < ALWAYS_TAKEN:
            return None
        models = self._versions.known_models() if model is None else [model]
        left_s = self._seconds_left(timeout_s)
        refusals = [self._versions.too_late(each, version, left_s) for each in models]
        refusal = refusals[0] if refusals and None not in refusals else None
        if refusal is not None:
            self._metrics.count_rejection(refusal.code)
        return refusal

    async def predict(self, request: PredictRequest) -> Answer:
        """Answer one request.

        Raises:
            InvalidRequest: no images, too many, or pixels of another shape or dtype.
            UnknownModel, UnknownVersion, NoLiveVersion: there is nothing to answer with.
            Overloaded, DeadlineExceeded, EngineUnavailable: not now.
        """
        with self._counted(), self._versions.lease(request.model, request.version) as version:
            deadline = self._deadline(request)
            most = min(MAX_IMAGES, self._settings.queue_size)
            images = _engine_images(request.images, version.manifest, most, deadline)
            outcomes = await self._infer(version, images, deadline)
            predictions = tuple(self._decide(outcome, version.manifest) for outcome in outcomes)
            answer = Answer(request.model, version.manifest.version, version.manifest.classes, predictions)
        keep_images(self._kept, request, answer)
        return answer

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a request while it is under way, and once more if it is given up."""
        self._in_flight += 1
        try:
            yield
        except (Unavailable, DeadlineExceeded) as error:
            self._metrics.count_rejection(error.code)
            raise
        finally:
            self._in_flight -= 1

    def _deadline(self, request: PredictRequest) -> float:
        """When the request's time is up, on the event loop's clock."""
        timeout_s = self._seconds_left(request.timeout_s)
        if not timeout_s > 0:
            raise DeadlineExceeded("The request's time had run out before it came.")
        return asyncio.get_running_loop().time() + timeout_s

    def _seconds_left(self, timeout_s: float | None) -> float:
        cap_s = self._settings.request_timeout_s
        return cap_s if timeout_s is None else min(timeout_s, cap_s)

    async def _infer(
        self, version: LoadedVersion, images: Sequence[EngineImage], deadline: float
    ) -> list[float | RipenError]:
        """Per image its outcome; one above the limit gets its error here and never waits in the queue."""
        most = self._settings.max_image_bytes
        refusals = [_refusal(image, most) for image in images]
        good = [image for image, refusal in zip(images, refusals, strict=True) if refusal is None]
        outcomes = iter(await version.infer(good, deadline))
        return [refusal or next(outcomes) for refusal in refusals]

    def _decide(self, outcome: float | RipenError, manifest: Manifest) -> Prediction | RipenError:
        if isinstance(outcome, RipenError):
            return outcome
        self._metrics.observe_score(manifest.model, manifest.version, outcome)
        return Prediction(manifest.classes[outcome >= manifest.threshold], outcome, manifest.threshold)


def keep_images(kept: KeptImages, request: PredictRequest, answer: Answer) -> None:
    """Hold what was answered for feedback, if it can be named; pixels cannot be stored as an image."""
    if request.request_id and not isinstance(request.images, np.ndarray):
        kept.keep(
            request.images,
            answer.predictions,
            model=answer.model,
            version=answer.version,
            request_id=request.request_id,
            files=request.files,
        )


def _refusal(image: EngineImage, max_bytes: int) -> ImageTooLarge | None:
    """Why the image goes no further; the engine would find out only after it was queued and sent."""
    return refuse_size(image.data, max_bytes) if image.encoded else None


def _engine_images(
    images: Sequence[bytes] | Pixels, manifest: Manifest, most: int, deadline: float
) -> list[EngineImage]:
    """The images as they cross to the engine; raises InvalidRequest where they cannot."""
    if isinstance(images, np.ndarray):
        height, width = manifest.image_size
        if images.shape[1:] != (height, width, 3) or images.dtype != np.uint8:
            raise InvalidRequest(
                f"The pixels are {images.dtype} of shape {list(images.shape)}; expected uint8 of shape "
                f"[N, {height}, {width}, 3]."
            )
    if not 1 <= len(images) <= most:
        raise InvalidRequest(f"The request has {len(images)} images; expected 1 to {most}.")
    if isinstance(images, np.ndarray):
        return [EngineImage(image.tobytes(), encoded=False, deadline=deadline) for image in images]
    return [EngineImage(image, encoded=True, deadline=deadline) for image in images]
