"""curves.png: how a training went and what its version gets wrong, for people. LINE B, publish."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from contract.records import Metrics
from contract.training import Epoch

TRAIN, TUNE = "tab:blue", "tab:orange"


def draw_curves(
    path: Path, history: Sequence[Epoch], *, kept_epoch: int | None, metrics: Metrics, classes: tuple[str, str]
) -> None:
    """Draw loss and accuracy per epoch beside the hold-out's confusion matrix, as a PNG of 1500 x 450 pixels.

    Args:
        path: the PNG to write.
        history: all epochs.
        kept_epoch: the one whose weights the version has.
        metrics: the version's on the hold-out.
        classes: names of the negative and the positive class.
    """
    figure = Figure(figsize=(15, 4.5), dpi=100, layout="constrained")  # not pyplot: no global state, no display
    loss, accuracy, confusion = figure.subplots(1, 3)
    _draw(loss, history, "loss", [(epoch.loss, epoch.validation_loss) for epoch in history])
    loss.set_yscale("log")  # the first epochs' losses would flatten all others
    _draw(accuracy, history, "accuracy", [(epoch.accuracy, epoch.validation_accuracy) for epoch in history])
    accuracy.set_ylim(top=1.01)
    for axes in (loss, accuracy):
        _mark(axes, history, kept_epoch)
    _draw_confusion(confusion, metrics, classes)
    figure.savefig(path)


def _draw(axes: Axes, history: Sequence[Epoch], name: str, values: Sequence[tuple[float, float | None]]) -> None:
    """Draw (train, tune) values per epoch."""
    numbers = [epoch.epoch for epoch in history]
    axes.plot(numbers, [train for train, _ in values], marker="o", color=TRAIN, label="train")
    validated = [(number, tune) for number, (_, tune) in zip(numbers, values, strict=True) if tune is not None]
    if validated:
        axes.plot(*zip(*validated, strict=True), marker="s", color=TUNE, label="tune")
    axes.set(title=f"{name.capitalize()} per epoch", xlabel="epoch", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def _mark(axes: Axes, history: Sequence[Epoch], kept_epoch: int | None) -> None:
    """Mark where a phase ends, and the epoch that was kept."""
    for before, after in pairwise(history):
        if before.phase != after.phase:
            axes.axvline(before.epoch + 0.5, color="grey", linestyle="--", label=f"{before.phase} | {after.phase}")
    if kept_epoch is not None:
        axes.axvline(kept_epoch, color="tab:green", alpha=0.4, linewidth=4, label=f"kept: epoch {kept_epoch}")
    axes.legend()


def _draw_confusion(axes: Axes, metrics: Metrics, classes: tuple[str, str]) -> None:
    counts = [[metrics.true_negative, metrics.false_positive], [metrics.false_negative, metrics.true_positive]]
    axes.imshow(counts, cmap="Blues", vmin=0)
    darkest = max(map(max, counts))
    for row, values in enumerate(counts):
        for column, count in enumerate(values):
            color = "white" if count > darkest / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=18, color=color)
    axes.set_xticks([0, 1], classes)
    axes.set_yticks([0, 1], classes, rotation=90, va="center")
    title = f"Hold-out: {metrics.accuracy:.1%} of {metrics.count} images right"
    axes.set(title=title, xlabel="answered", ylabel="labelled")
