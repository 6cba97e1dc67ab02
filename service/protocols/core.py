"""What every protocol may call: one core behind all of them. LINE A step 1, LINE B steps 1-2."""

import asyncio
import threading
from dataclasses import dataclass, field

from contract.settings import Settings
from service.callers import Callers
from service.feedback import Feedback
from service.learning import Learning
from service.metrics import Metrics
from service.predictor import Predictor
from service.readiness import Readiness
from service.versions import Versions

JSON_READERS = 2
IMPORTS = 2


@dataclass(frozen=True)
class Core:
    """Built by hand in `__main__.py`; protocols translate to and from its calls and add nothing.

    Attributes:
        json_readers: large JSON is read in that many threads at once, so that it cannot crowd out the event loop.
        imports: how many archives may be on their way at once; each takes its size on the disk.
    """

    predictor: Predictor
    versions: Versions
    learning: Learning
    feedback: Feedback
    readiness: Readiness
    metrics: Metrics
    settings: Settings
    callers: Callers
    imports: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(IMPORTS))
    json_readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(JSON_READERS))
