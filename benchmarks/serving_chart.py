"""A network's serving table as a bar chart; README shows MobileNetV2's."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.serving_result import LIMIT, RIPEN, Row
from contract.openvino_model import Precision
from contract.records import RuntimeChoice

COLOURS = {LIMIT: "#9aa5b1", RIPEN: "#c2410c"}
PEER_COLOUR = "#3e6c94"


def draw(file: Path, rows: Sequence[Row], machine: Machine) -> None:
    """Write an SVG: the best of each server, protocol, runtime and precision, the fastest first."""
    import matplotlib  # noqa: PLC0415  # 0.5 s, at the end only

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # letters as text: a tenth of the size
    import matplotlib.pyplot as plt  # noqa: PLC0415

    chosen = _choose(rows)
    figure, axes = plt.subplots(figsize=(9, 0.3 * len(chosen) + 1.6), layout="constrained")
    places = range(len(chosen))
    rates = [row.images_per_s for row in chosen]
    spread = [[row.images_per_s - row.lowest for row in chosen], [row.highest - row.images_per_s for row in chosen]]
    colours = [COLOURS.get(row.case.server, PEER_COLOUR) for row in chosen]
    axes.barh(places, rates, xerr=spread, color=colours, error_kw={"elinewidth": 0.8})
    axes.set_yticks(places, [_name(row) for row in chosen], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.01)
    axes.set_xlabel("images per second: median of the rounds, with the lowest and the highest", fontsize=8)
    axes.set_title(
        f"{rows[0].case.backbone} at 224, JPEG to probability\n{machine}, OpenVINO {machine.packages['openvino']}",
        fontsize=9,
    )
    axes.bar_label(axes.containers[-1], [f"{rate:.0f}" for rate in rates], padding=6, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _choose(rows: Sequence[Row]) -> list[Row]:
    best: dict[tuple[str, str, RuntimeChoice, Precision], Row] = {}
    for row in rows:
        key = (row.case.server, row.case.protocol, row.case.runtime, row.case.precision)
        if row.case.concurrency != 1 and (key not in best or row.images_per_s > best[key].images_per_s):
            best[key] = row
    return sorted(best.values(), key=lambda row: -row.images_per_s)


def _name(row: Row) -> str:
    case = row.case
    server = "decode + infer in process" if case.server == LIMIT else f"{case.server} {case.protocol}"
    return f"{server}, {'TensorFlow' if case.runtime is RuntimeChoice.TENSORFLOW else 'OpenVINO'} {case.precision}"
