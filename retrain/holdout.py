"""What versions are judged on: the hold-out with its named slices, and two versions compared on each. LINE B, judge."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from contract.comparison import Comparison
from contract.settings import Settings
from retrain.evaluation import Labels, Probabilities
from retrain.significance import bootstrap, correct, mcnemar

Mask = NDArray[np.bool_]
WHOLE = "all"
FRESH = "fresh"
SEED = 20_261_123  # of the bootstrap: the same scores always give the same verdict


@dataclass(frozen=True)
class Scored:
    """One version's probabilities for the hold-out, (N,) in the labels' order, and its threshold.

    `version` is its number; None for the new one.
    """

    probabilities: Probabilities
    threshold: float
    version: int | None = None


@dataclass(frozen=True)
class Holdout:
    """The images that versions are judged on.

    Attributes:
        labels: (N,) uint8, 1 for `classes[1]`; N >= 1.
        slices: by name, (N,) bool each; they may overlap.
    """

    labels: Labels
    slices: Mapping[str, Mask] = field(default_factory=dict)


@dataclass(frozen=True)
class Thresholds:
    """What the gate decides by; `RIPEN_GATE_<FIELD>` sets each.

    Attributes:
        significance: of every test, in (0, 1): how often chance alone may look like a difference.
        margin: share of the hold-out by which a version that counts as not inferior may be worse.
        slice_margin: the same for a protected slice; `cautious` wants it shown.
        protected: names of slices on which a version must not be worse; `*` stands for any text.
        least_holdout: images from which on versions are compared at all.
        small_holdout: images below which `balanced` goes by log-loss without proof that accuracy is not inferior.
        least_slice: images from which on a slice is judged.
        resamples: of the bootstrap.
    """

    significance: float = 0.05
    margin: float = 0.02
    slice_margin: float = 0.1
    protected: tuple[str, ...] = ("class:*",)
    least_holdout: int = 20
    small_holdout: int = 1000
    least_slice: int = 30
    resamples: int = 2000

    @classmethod
    def of(cls, settings: Settings) -> "Thresholds":
        """What the environment says."""
        return cls(**{each.name: getattr(settings, f"gate_{each.name}") for each in fields(cls)})

    def protects(self, name: str) -> bool:
        """Whether a new version must not be worse on the slice of that name."""
        return any(re.fullmatch(re.escape(one).replace(r"\*", ".*"), name) for one in self.protected)


DEFAULTS = Thresholds()


def slice_holdout(labels: Labels, classes: tuple[str, str], fresh: Mask | None) -> Holdout:
    """The hold-out with the slices that every model has: each class, and what is new.

    Args:
        labels: (N,) uint8.
        fresh: (N,) bool, the images newer than all that the live version was made from; None: nobody knows.
    """
    slices = {f"class:{name}": labels == place for place, name in enumerate(classes)}
    return Holdout(labels, slices if fresh is None else {**slices, FRESH: fresh})


def compare(holdout: Holdout, candidate: Scored, live: Scored, thresholds: Thresholds) -> tuple[Comparison, ...]:
    """Both versions on the whole hold-out, then on each slice that has an image, its p-value corrected."""
    pair = _Pair(holdout.labels, candidate, live, thresholds)
    whole = pair.on(WHOLE, np.ones(len(holdout.labels), np.bool_), least=thresholds.least_holdout)
    least = thresholds.least_slice
    slices = [pair.on(name, mask, least=least) for name, mask in holdout.slices.items() if np.any(mask)]
    return whole, *_correct(slices)


def share_right(labels: Labels, version: Scored) -> float:
    """The version's accuracy, at its threshold."""
    return float(np.mean(_right(labels, version)))


def commoner_share(labels: Labels) -> float:
    """The accuracy of answering the commoner class always."""
    return float(max(np.mean(labels == 1), np.mean(labels == 0)))


def count_only_right(labels: Labels, candidate: Scored, other: Scored) -> tuple[int, int]:
    """How many images only the first version has right, and how many only the second one."""
    candidate_right, other_right = _right(labels, candidate), _right(labels, other)
    return int(np.sum(candidate_right & ~other_right)), int(np.sum(other_right & ~candidate_right))


@dataclass(frozen=True)
class _Pair:
    """Two versions' answers to the same images."""

    labels: Labels
    candidate: Scored
    live: Scored
    thresholds: Thresholds

    def on(self, name: str, mask: Mask, *, least: int) -> Comparison:
        """Compare them where `mask` is true, somewhere; statistics only from `least` images on."""
        labels, candidate, live = self.labels[mask], _on(self.candidate, mask), _on(self.live, mask)
        better, worse = count_only_right(labels, candidate, live)
        counted = Comparison(
            slice=name,
            count=len(labels),
            judged=len(labels) >= least,
            protected=self.thresholds.protects(name),
            candidate_accuracy=share_right(labels, candidate),
            live_accuracy=share_right(labels, live),
            only_candidate_right=better,
            only_live_right=worse,
        )
        if not counted.judged:
            return counted
        log_loss, auc = bootstrap(
            labels,
            candidate.probabilities,
            live.probabilities,
            significance=self.thresholds.significance,
            resamples=self.thresholds.resamples,
            seed=SEED,
        )
        return replace(counted, p_value=mcnemar(better, worse), log_loss=log_loss, auc=auc)


def _correct(slices: Sequence[Comparison]) -> list[Comparison]:
    """All judged slices are one family of tests."""
    tested = {one.slice: one.p_value for one in slices if one.p_value is not None}
    corrected = dict(zip(tested, correct(list(tested.values())), strict=True))
    return [replace(one, p_value=corrected.get(one.slice)) for one in slices]


def _on(version: Scored, mask: Mask) -> Scored:
    return replace(version, probabilities=version.probabilities[mask])


def _right(labels: Labels, version: Scored) -> Mask:
    right: Mask = (version.probabilities >= version.threshold) == (labels == 1)
    return right
