"""The guide's recipe by Ripen and as a plain Keras script, on the same folder, in turns, in one run.

usage: python -m benchmarks.retraining --photos DATASET [--backbones MobileNet ...]      (`make bench-retraining`)

Per backbone and round: the plain script on DATASET/train without 50 images, Ripen on the same (nothing cached), then
Ripen on all of it, as a retrain after 50 new images. What counts is all that happens after the imports: building,
decoding, the frozen layers, epochs with a validation on DATASET/validation. VGG16 and ResNet50 have random weights; of
each of their phases two epochs run, and the second counts for all further ones. Of MobileNet 0.25 with ImageNet weights
all 15 run, which also checks that reckoning. Prints which promised lines hold, writes
benchmarks/results/retraining.json, exits 1 where one falls short.
"""

import argparse
import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev

import msgspec

from benchmarks import machine, promises
from benchmarks.machine import Machine
from benchmarks.promises import Line

HERE = Path(__file__).parent
HEAD_EPOCHS, TAIL_EPOCHS, COUNTED = 5, 10, 2
NEW = 50  # images that come between the two trainings
SCALING = 0.1  # by which the reckoning of two epochs may be wrong


@dataclass(frozen=True)
class Network:
    """One backbone, and how many times as fast as the plain script Ripen must be at first and with 50 new images."""

    backbone: str
    alpha: float | None
    first: float
    again: float


NETWORKS = (
    Network("VGG16", None, 4.0, 5.0),
    Network("ResNet50", None, 6.0, 10.0),
    Network("MobileNet", 0.25, 2.5, 3.5),
)
WHOLE = "MobileNet"  # of which every epoch runs


@dataclass(frozen=True)
class Order:
    """What one process shall train. `weights`: `imagenet`, or a file; `cache`: a folder that Ripen's side uses."""

    folder: str
    backbone: str
    alpha: float | None
    weights: str
    head_epochs: int
    tail_epochs: int
    cache: str
    seed: int


@dataclass(frozen=True)
class Spent:
    """What a training took: seconds outside of epochs, and of each epoch that ran, per phase; and how it ended."""

    once_s: float
    phases: tuple[tuple[float, ...], ...]
    loss: float
    accuracy: float

    @property
    def seconds(self) -> float:
        """Of the whole recipe: the second epoch of a phase counts for all that did not run."""
        return self.once_s + sum(
            sum(seconds) + (epochs - len(seconds)) * seconds[-1]
            for seconds, epochs in zip(self.phases, (HEAD_EPOCHS, TAIL_EPOCHS), strict=True)
        )

    @property
    def reckoned_s(self) -> float:
        """The same from the first two epochs of each phase."""
        cut = tuple(seconds[:COUNTED] for seconds in self.phases)
        return Spent(self.once_s, cut, self.loss, self.accuracy).seconds


@dataclass(frozen=True)
class Round:
    """One turn of one backbone. `plain_again_s` is reckoned from `plain` by the number of images."""

    plain: Spent
    first: Spent
    again: Spent
    plain_again_s: float


@dataclass(frozen=True)
class Result:
    """What is written down."""

    machine: Machine
    rounds: dict[str, list[Round]]
    lines: list[Line]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [network.backbone for network in NETWORKS]
    parser.add_argument("--photos", type=Path, required=True, help="a folder with train/ and validation/")
    parser.add_argument("--backbones", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds: dict[str, list[Round]] = {}
    for network in NETWORKS:
        if network.backbone not in options.backbones:
            continue
        with tempfile.TemporaryDirectory() as home, without_newest(options.photos, Path(home)) as smaller:
            weights = "imagenet" if network.backbone == WHOLE else random_weights(network, Path(home))
            for seed in range(options.rounds):
                told = turn(network, options.photos, smaller, weights=weights, seed=seed)
                rounds.setdefault(network.backbone, []).append(told)
    lines = [line for network in NETWORKS if network.backbone in rounds for line in judge(network, rounds)]
    return promises.finish("retraining", Result(machine.describe(), rounds, lines), lines)


@contextmanager
def without_newest(photos: Path, home: Path) -> Iterator[Path]:
    """A folder like `photos`, of links, whose training part lacks NEW images, half of each class."""
    for part in ("train", "validation"):
        for folder in sorted((photos / part).iterdir()):
            files = sorted(folder.iterdir())
            target = home / "smaller" / part / folder.name
            target.mkdir(parents=True)
            for file in files[: len(files) - NEW // 2] if part == "train" else files:
                (target / file.name).symlink_to(file.resolve())
    yield home / "smaller"


def random_weights(network: Network, home: Path) -> str:
    """A file of the backbone's initial weights: they train as slowly as any others."""
    path = home / f"{network.backbone}.weights.h5"
    make = "import keras, sys; keras.utils.set_random_seed(1); "
    make += f"keras.applications.{network.backbone}(weights=None, include_top=False).save_weights(sys.argv[1])"
    subprocess.run([sys.executable, "-c", make, str(path)], check=True, stderr=subprocess.DEVNULL)
    return str(path)


def turn(network: Network, photos: Path, smaller: Path, *, weights: str, seed: int) -> Round:
    """The three trainings, one after the other."""
    whole = network.backbone == WHOLE
    epochs = (HEAD_EPOCHS, TAIL_EPOCHS) if whole else (COUNTED, COUNTED)
    with tempfile.TemporaryDirectory() as cache:
        order = Order(str(smaller), network.backbone, network.alpha, weights, *epochs, cache, seed)
        plain = run("plain_keras_guide.py", order)
        first = run("ripen_guide.py", order)
        again = run("ripen_guide.py", dataclasses.replace(order, folder=str(photos)))
    count, before = (sum(1 for _ in folder.glob("*/*/*")) for folder in (photos, smaller))
    plain_again_s = plain.once_s + (plain.seconds - plain.once_s) * count / before
    print(
        f"{network.backbone}: plain {plain.seconds:.1f} s, Ripen {first.seconds:.1f} s; "
        f"after {NEW} new images {plain_again_s:.1f} and {again.seconds:.1f} s; "
        f"validation loss {plain.loss:.3f} and {first.loss:.3f}",
        flush=True,
    )
    return Round(plain, first, again, plain_again_s)


def run(script: str, order: Order) -> Spent:
    """One training in a process of its own; its last line is JSON."""
    command = [sys.executable, "-m", f"benchmarks.{script.removesuffix('.py')}", msgspec.json.encode(order).decode()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent, check=False)
    if done.returncode:
        raise SystemExit(f"{script} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Spent)


def judge(network: Network, all_rounds: dict[str, list[Round]]) -> Sequence[Line]:
    """The promised lines of one backbone: ratios are taken within each round."""
    rounds, name = all_rounds[network.backbone], network.backbone
    first = median(each.plain.seconds / each.first.seconds for each in rounds)
    again = median(each.plain_again_s / each.again.seconds for each in rounds)
    lines = [
        Line(f"{name}, first: at least {network.first:g} times as fast", f"{first:.1f}", first >= network.first),
        Line(f"{name}, {NEW} new images: at least {network.again:g} times", f"{again:.1f}", again >= network.again),
    ]
    if name != WHOLE:
        return lines
    wrong = median(abs(each.plain.reckoned_s / each.plain.seconds - 1) for each in rounds)
    lines.append(Line(f"two epochs tell what all take within {SCALING:.0%}", f"{wrong:.1%}", wrong <= SCALING))
    if len(rounds) > 1:
        lines.append(same_loss([each.plain.loss for each in rounds], [each.first.loss for each in rounds]))
    return lines


def same_loss(plain: Sequence[float], ours: Sequence[float]) -> Line:
    """Whether the mean losses differ by no more than seeds make them differ: two standard errors."""
    difference = abs(sum(ours) / len(ours) - sum(plain) / len(plain))
    noise = 2 * (stdev(plain) ** 2 / len(plain) + stdev(ours) ** 2 / len(ours)) ** 0.5
    told = f"{sum(ours) / len(ours):.3f} beside {sum(plain) / len(plain):.3f}, two standard errors are {noise:.3f}"
    return Line("MobileNet: final validation loss as the plain script's", told, difference <= noise)


if __name__ == "__main__":
    sys.exit(main())
