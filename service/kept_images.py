"""The images of recent predictions, so that feedback can label them. Behind LINE A step 6, before LINE B step 1.

In memory and nowhere else: a prediction costs no write, and nobody's picture is stored before somebody has labelled it.
So each replica knows its own images only, and a restart forgets them.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contract.errors import ImagesNotKept, RipenError, UnknownRequest
from contract.images import Pixels
from contract.records import Prediction

MOST_IMAGES = 1000
LONGEST_S = 24 * 3600.0


@dataclass(eq=False, slots=True)
class KeptImage:
    """One image and what was answered. `label` is what feedback has said of it; `thumbnail` is made when asked for."""

    model: str
    request_id: str
    index: int  # its position in the request, from 0
    version: int
    prediction: Prediction
    data: bytes
    file: str
    kept_at: float  # seconds since 1970
    label: str | None = None
    thumbnail: Pixels | None = None


class KeptImages:
    """The newest MOST_IMAGES of LONGEST_S at most, and of `most_bytes` in all. Thread-safe.

    Args:
        most_bytes: 0 keeps nothing.
        clock: seconds since 1970.
    """

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._most_bytes = most_bytes
        self._clock = clock
        self._images: dict[tuple[str, str, int], KeptImage] = {}  # oldest first
        self._lock = threading.Lock()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._images)

    def keep(
        self,
        images: Sequence[bytes],
        predictions: Sequence[Prediction | RipenError],
        *,
        model: str,
        version: int,
        request_id: str,
        files: Sequence[str | None],
    ) -> None:
        """Keep what was answered of one request; called once per request, so it costs microseconds.

        Args:
            images: encoded; held, not copied.
            predictions: one per image; one that has an error in its place is not kept.
            files: the client's names; shorter than `images` where it gave none.
        """
        if not self._most_bytes:
            return
        now = self._clock()
        with self._lock:
            for index, (data, one) in enumerate(zip(images, predictions, strict=True)):
                if isinstance(one, Prediction):
                    file = (files[index] if index < len(files) else None) or ""
                    self._add(KeptImage(model, request_id, index, version, one, data, file, now))
            self._drop_old(now)

    def get(self, model: str, request_id: str, index: int, *, since: float = 0.0) -> KeptImage:
        """One image.

        Args:
            since: when its model was created; an earlier one of the same name was another model.

        Raises:
            ImagesNotKept: none are.
            UnknownRequest: this one is not, and why that may be.
        """
        self._check_kept()
        image = self._images.get((model, request_id, index))
        if image is None or image.kept_at < max(since, self._clock() - LONGEST_S):
            raise UnknownRequest(
                f"No image {index} of a request {request_id!r} to model {model!r} is kept here. The replica that "
                f"answered keeps the last {MOST_IMAGES} images of 24 hours, {self._most_bytes} bytes in all "
                "(RIPEN_KEEP_IMAGES_BYTES), until it restarts. Upload the image itself with POST /api/v1/examples."
            )
        return image

    def of(self, model: str, *, since: float = 0.0) -> list[KeptImage]:
        """All of a model's, oldest first; `since` as in `get`. Raises ImagesNotKept."""
        self._check_kept()
        with self._lock:
            self._drop_old(self._clock())
            return [image for image in self._images.values() if image.model == model and image.kept_at >= since]

    def _check_kept(self) -> None:
        if not self._most_bytes:
            raise ImagesNotKept(
                "This service keeps no images of predictions (--no-keep, or RIPEN_KEEP_IMAGES_BYTES=0); upload the "
                "image itself with POST /api/v1/examples."
            )

    def _add(self, image: KeptImage) -> None:
        key = image.model, image.request_id, image.index
        before = self._images.pop(key, None)  # clients may name their requests, and name two alike
        self.size_bytes += len(image.data) - (0 if before is None else len(before.data))
        self._images[key] = image

    def _drop_old(self, now: float) -> None:
        while self._images:
            key, oldest = next(iter(self._images.items()))
            within = len(self._images) <= MOST_IMAGES and self.size_bytes <= self._most_bytes
            if within and oldest.kept_at >= now - LONGEST_S:
                return
            del self._images[key]
            self.size_bytes -= len(oldest.data)
