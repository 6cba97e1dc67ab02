"""Images that an engine did not survive. LINE A step 4.

Nobody knows which of the images in flight ended it, so each of them is a suspect: its next turn is alone, where an
answer acquits it. One that ends an engine again is refused for a while, and everybody else is served.
"""

import hashlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from contract.errors import InvalidImage
from service.engine_wire import EngineImage

REMEMBERED_S = 600.0
MOST_DEATHS = 2  # from so many on it is refused
MOST_IMAGES = 4096  # that are remembered; the oldest are forgotten first
logger = logging.getLogger(__name__)


@dataclass
class _Blame:
    deaths: int
    until: float


class Quarantine:
    """The suspects of one version. Costs nothing as long as there are none."""

    def __init__(self) -> None:
        self._blamed: dict[bytes, _Blame] = {}

    def blame(self, images: Iterable[EngineImage]) -> None:
        """An engine ended, or was ended because it hung, while it had these images."""
        until = time.monotonic() + REMEMBERED_S
        for image in images:
            digest = _digest(image)
            deaths = self._deaths(digest) + 1
            self._blamed.pop(digest, None)
            self._blamed[digest] = _Blame(deaths, until)
            if deaths == MOST_DEATHS:
                logger.error("The image with sha256 %s ended its engine twice; it is refused now.", digest.hex())
        while len(self._blamed) > MOST_IMAGES:
            del self._blamed[next(iter(self._blamed))]

    def acquit(self, images: Iterable[EngineImage]) -> None:
        """An engine answered these images."""
        if self._blamed:
            for image in images:
                self._blamed.pop(_digest(image), None)

    def suspects(self, image: EngineImage) -> bool:
        """Whether the image should be alone in the engine."""
        return bool(self._blamed) and self._deaths(_digest(image)) > 0

    def refusal(self, image: EngineImage) -> InvalidImage | None:
        """Why the image is not taken, or None."""
        if not self._blamed or self._deaths(_digest(image)) < MOST_DEATHS:
            return None
        return InvalidImage(
            f"The version's engine ended {MOST_DEATHS} times while it had this image, so it is refused for "
            f"{REMEMBERED_S / 60:g} minutes. Send the picture encoded anew."
        )

    def _deaths(self, digest: bytes) -> int:
        blame = self._blamed.get(digest)
        if blame is not None and blame.until < time.monotonic():
            del self._blamed[digest]
            return 0
        return 0 if blame is None else blame.deaths


def _digest(image: EngineImage) -> bytes:
    return hashlib.sha256(image.data).digest()
