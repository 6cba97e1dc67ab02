"""Is a version by the recipe `best` better than the guide's, better than a linear probe, and made in less time?

usage: KERAS_HOME=... python -m benchmarks.accuracy --photos DATASET      (`make bench-accuracy`, 6 minutes)

Per seed: the guide as a plain Keras script, Ripen's `best`, and logistic regression on the pooled features (L2 by cross
validation), each on DATASET/train, with MobileNet 0.25 and ImageNet weights; all judged on DATASET/validation, which
none of them has seen. Prints which promised lines hold, writes benchmarks/results/accuracy.json, exits 1 where one
falls short.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TypeVar

import msgspec
import numpy as np

from benchmarks import machine, promises
from benchmarks.machine import Machine
from benchmarks.promises import Line
from benchmarks.retraining import HEAD_EPOCHS, TAIL_EPOCHS, Order
from retrain.calibration import calibration_error
from retrain.evaluation import measure

T = TypeVar("T")
HERE = Path(__file__).parent
BACKBONE, ALPHA = "MobileNet", 0.25
ERROR = 0.03  # of calibration, at most


@dataclass(frozen=True)
class Answers:
    """What one side answers for the hold-out: probabilities and labels, N each; and the seconds that it took."""

    probabilities: tuple[float, ...]
    labels: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Both:
    """What Ripen's process says."""

    best: Answers
    probe: Answers


@dataclass(frozen=True)
class Figures:
    """One side on the hold-out; `error` is the expected calibration error of 15 bins."""

    log_loss: float
    accuracy: float
    error: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """What is written down, by side, one entry per seed."""

    machine: Machine
    figures: dict[str, list[Figures]]
    lines: list[Line]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="a folder with train/ and validation/")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    figures: dict[str, list[Figures]] = {"guide": [], "probe": [], "best": []}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as cache:
            order = Order(str(options.photos), BACKBONE, ALPHA, "imagenet", HEAD_EPOCHS, TAIL_EPOCHS, cache, seed)
            guide = ask("plain_keras_guide", order, Answers)
            both = ask("ripen_best", order, Both)
        for side, answers in (("guide", guide), ("probe", both.probe), ("best", both.best)):
            figures[side].append(told := describe(answers))
            print(
                f"seed {seed} {side:5}: log-loss {told.log_loss:.3f}, accuracy {told.accuracy:.3f}, "
                f"calibration error {told.error:.3f}, {told.seconds:.1f} s",
                flush=True,
            )
    lines = judge(figures)
    return promises.finish("accuracy", Result(machine.describe(), figures, lines), lines)


def ask(script: str, order: Order, kind: type[T]) -> T:
    """One training in a process of its own; its last line is JSON."""
    command = [sys.executable, "-m", f"benchmarks.{script}", msgspec.json.encode(order).decode()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent, check=False)
    if done.returncode:
        raise SystemExit(f"{script} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=kind)


def describe(answers: Answers) -> Figures:
    """The figures of one side."""
    labels = np.array(answers.labels, np.uint8)
    probabilities = np.array(answers.probabilities, np.float32)
    measured = measure(labels, probabilities, 0.5)
    error = calibration_error(labels, probabilities)
    return Figures(measured.log_loss, measured.accuracy, error, answers.seconds)


def judge(figures: dict[str, list[Figures]]) -> list[Line]:
    """The promised lines, of means over the seeds."""

    def of(side: str, name: str) -> float:
        return mean(getattr(one, name) for one in figures[side])

    guide, probe = of("best", "log_loss") / of("guide", "log_loss"), of("best", "log_loss") / of("probe", "log_loss")
    gained, above = (of("best", "accuracy") - of(side, "accuracy") for side in ("guide", "probe"))
    error, half = of("best", "error"), of("best", "error") / of("guide", "error")
    share = of("best", "seconds") / of("guide", "seconds")
    return [
        Line("log-loss at least 50 % below the guide's", f"{1 - guide:.0%} below", guide <= 0.5),
        Line("log-loss at least 10 % below the probe's", f"{1 - probe:.1%} below", probe <= 0.9),
        Line("accuracy at least 1 point above the guide's", f"{gained:+.1%}", gained >= 0.01),
        Line("accuracy not below the probe's", f"{above:+.1%}", above >= 0),
        Line(f"calibration error below {ERROR}", f"{error:.3f}{_spread(figures['best'])}", error < ERROR),
        Line("and at most half of the guide's", f"{half:.2f} of it", half <= 0.5),
        Line("in less time than the guide", f"{share:.2f} of it", share < 1),
    ]


def _spread(figures: list[Figures]) -> str:
    return f" +- {stdev(one.error for one in figures):.3f}" if len(figures) > 1 else ""


if __name__ == "__main__":
    sys.exit(main())
