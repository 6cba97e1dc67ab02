"""A staged SavedModel gets `openvino/` beside it, and is compared with it; or a reason why not. LINE B step 4.

Nothing that happens here costs the version: TensorFlow can serve it. Each step is a process of its own, works beside
the staged folder, and what is moved into it is whole.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contract import parity
from contract.errors import ConversionFailed
from contract.images import Pixels
from contract.openvino_model import FOLDER, Precision, model_file, runtime_name
from contract.parity import Parity
from retrain import runtime_parity
from retrain.evaluation import Labels, Probabilities
from retrain.own_process import OwnProcess, Tell

F32_TOLERANCE = 1e-4  # OpenVINO f32 against TensorFlow f32 on golden images: beyond it, the graph is another one
CALIBRATION_IMAGES = 100  # 300 gave no better int8 (measured), and VGG16 takes 1 s each on one core
COMPARED_IMAGES = 2000  # of the hold-out; they are written to a file of 150 KB each


@dataclass(frozen=True)
class Samples:
    """What the runtimes are asked, and what TensorFlow f32 said.

    Attributes:
        calibration: (C, H, W, 3) uint8, of the training bucket, never of the hold-out.
        golden: (G, H, W, 3) uint8.
        golden_reference: (G,) float32.
        holdout: (N, H, W, 3) uint8.
        reference: (N,) float32.
        labels: (N,) uint8, 1 for `classes[1]`.
        threshold: the version's.
    """

    calibration: Pixels
    golden: Pixels
    golden_reference: Probabilities
    holdout: Pixels
    reference: Probabilities
    labels: Labels
    threshold: float


@dataclass(frozen=True)
class Converted:
    """What the manifest says of OpenVINO, by `openvino-<precision>`; `failure` is why there is none, or no int8."""

    parity: dict[str, Parity] = field(default_factory=dict)
    golden: dict[str, tuple[float, ...]] = field(default_factory=dict)
    failure: str = ""


class Converter:
    """Converts what one job made."""

    def __init__(self, process: OwnProcess | None = None) -> None:
        self._process = process or OwnProcess()

    def convert(self, folder: Path, samples: Samples, tell: Tell) -> Converted:
        """Put `openvino/` into a staged folder, whole or not at all; `tell` hears a line per step and comparison."""
        scratch = folder.with_name(f"{folder.name}-openvino")
        try:
            (scratch / FOLDER).mkdir(parents=True)
            self._process.run("retrain.tf_conversion", str(folder), str(scratch), tell=tell)
            lost = self._quantize(scratch, samples.calibration, tell)
            answers = self._ask(scratch, samples, tell)
            converted = compare(answers, samples, lost, tell)
            if runtime_name(Precision.INT8) not in converted.golden:
                _remove_int8(scratch)
            (scratch / FOLDER).rename(folder / FOLDER)
        except (ConversionFailed, OSError) as error:
            return Converted(failure=f"There is no network for OpenVINO: {error}")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return converted

    def _quantize(self, scratch: Path, calibration: Pixels, tell: Tell) -> str:
        """Make int8.xml; why there is none, or nothing."""
        try:
            np.save(scratch / "calibration.npy", calibration)
            self._process.run("retrain.quantization", str(scratch), str(scratch / "calibration.npy"), tell=tell)
        except ConversionFailed as error:
            _remove_int8(scratch)
            return f"There is no int8 network: {error}"
        return ""

    def _ask(self, scratch: Path, samples: Samples, tell: Tell) -> "Answers":
        """Golden and hold-out images at every precision; where the process died half-way, those that it had done."""
        images, failure = scratch / "images.npy", ""
        np.save(images, np.concatenate([samples.golden, samples.holdout]))
        try:
            self._process.run("retrain.runtime_parity", str(scratch), str(images), tell=tell)
        except ConversionFailed as error:
            failure = str(error)
        files = {precision: runtime_parity.answers_file(images, precision) for precision in Precision}
        found = {precision: np.load(file) for precision, file in files.items() if file.exists()}
        return Answers(found, failure)


@dataclass(frozen=True)
class Answers:
    """(G + N,) float32 for golden and hold-out images, by precision; `failure` is why some may be missing."""

    probabilities: dict[Precision, Probabilities]
    failure: str = ""


def compare(answers: Answers, samples: Samples, lost: str, tell: Tell) -> Converted:
    """Parity and golden probabilities of every precision that answered.

    Raises:
        ConversionFailed: f32 did not answer, or not as TensorFlow does: then no precision can be trusted.
    """
    if Precision.F32 not in answers.probabilities:
        raise ConversionFailed(answers.failure)
    count = len(samples.golden)
    worst = float(np.max(np.abs(answers.probabilities[Precision.F32][:count] - samples.golden_reference)))
    if not worst <= F32_TOLERANCE:
        raise ConversionFailed(f"it differs from TensorFlow by {worst:.2g} on golden images; at most {F32_TOLERANCE}.")
    measured, golden = {}, {}
    for precision, given in answers.probabilities.items():
        name = runtime_name(precision)
        golden[name] = tuple(float(value) for value in given[:count])
        measured[name] = parity.compare(
            samples.reference, given[count:], samples.labels.tolist(), threshold=samples.threshold
        )
        tell(runtime_parity.describe(name, measured[name]))
    return Converted(measured, golden, lost or answers.failure)


def _remove_int8(scratch: Path) -> None:
    for suffix in (".xml", ".bin"):
        model_file(scratch, Precision.INT8).with_suffix(suffix).unlink(missing_ok=True)
