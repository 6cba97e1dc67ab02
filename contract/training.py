"""What a training tried and chose, for its version's manifest and report. LINE B, train and calibrate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """One epoch's end. Losses are binary cross-entropies; validation is the tune bucket."""

    epoch: int  # from 1, counted over all phases
    phase: str  # head, tail or whole
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class Reliability:
    """How good probabilities are: log-loss in nats, Brier score, expected calibration error of 15 bins."""

    log_loss: float
    brier: float
    calibration_error: float


@dataclass(frozen=True)
class Calibration:
    """What was done to a version's logits: `scale` times the logit, plus `shift`; `said` is why, in words.

    `before` and `after` are measured on the `count` images of the calibrate bucket, of which it was fitted.
    """

    scale: float
    shift: float
    count: int
    said: str
    before: Reliability | None
    after: Reliability | None


@dataclass(frozen=True)
class Operating:
    """From which probability a version answers `classes[1]`, in (0, 1), and why, in words."""

    threshold: float
    said: str


@dataclass(frozen=True)
class Suspect:
    """An image whose label looks wrong; `probability` of `classes[1]` is that of a probe that had not seen it."""

    example: str
    file: str
    label: str
    probability: float


@dataclass(frozen=True)
class Trial:
    """One network that a training could have kept: an arm's weights, `share` of the way from its start to its end.

    `arm` says where it started and `depth` how many of the backbone's last layers learnt; `loss` is its cross-entropy
    on the tune bucket, in nats; one trial of a training is `chosen`.
    """

    arm: str
    depth: int
    share: float
    loss: float
    chosen: bool = False
