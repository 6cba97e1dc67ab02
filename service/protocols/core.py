"""What every protocol may call: one core behind all of them. LINE A step 1, LINE B steps 1-2."""

import asyncio
from dataclasses import dataclass, field

from contract.settings import Settings
from service.learning import Learning
from service.metrics import Metrics
from service.predictor import Predictor
from service.readiness import Readiness
from service.versions import Versions

JSON_READERS = 2


@dataclass(frozen=True)
class Core:
    """Built by hand in `__main__.py`; protocols translate to and from its calls and add nothing.

    Attributes:
        json_readers: large JSON is read in that many threads at once, so that it cannot crowd out the event loop.
    """

    predictor: Predictor
    versions: Versions
    learning: Learning
    readiness: Readiness
    metrics: Metrics
    settings: Settings
    json_readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(JSON_READERS))
