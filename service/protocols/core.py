"""What every protocol may call: one core behind all of them. LINE A step 1, LINE B steps 1-2."""

from dataclasses import dataclass

from contract.settings import Settings
from service.learning import Learning
from service.metrics import Metrics
from service.predictor import Predictor
from service.readiness import Readiness
from service.versions import Versions


@dataclass(frozen=True)
class Core:
    """Built by hand in `__main__.py`; protocols translate to and from its calls and add nothing."""

    predictor: Predictor
    versions: Versions
    learning: Learning
    readiness: Readiness
    metrics: Metrics
    settings: Settings
