"""A version's network on OpenVINO at one precision. LINE A step 5; LINE B step 4 measures parity with the same code.

OpenVINO is imported when it is first used, so that whoever reads only the names does not load it.
"""

import importlib
import sys
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.images import Pixels

FOLDER = "openvino"  # in a version's folder


class Precision(StrEnum):
    """What the network computes in; in the order in which they are slower."""

    INT8 = "int8"
    BF16 = "bf16"
    F32 = "f32"


FILES = {Precision.INT8: "int8.xml", Precision.BF16: "f32.xml", Precision.F32: "f32.xml"}  # weights lie beside: .bin
HINTS = {Precision.INT8: "f32", Precision.BF16: "bf16", Precision.F32: "f32"}  # int8 is in the file; the rest is f32
GOLDEN_TOLERANCES = {"openvino-f32": 1e-3, "openvino-bf16": 0.05, "openvino-int8": 0.05}  # of their own


def runtime_name(precision: Precision) -> str:
    """The key of golden probabilities and parity in the manifest: `openvino-bf16`."""
    return f"openvino-{precision}"


def offered() -> tuple[Precision, ...]:
    """The precisions that this machine's processor computes in, the fastest first."""
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(one for one in Precision if one is Precision.F32 or one.value.upper() in capabilities)


def model_file(folder: Path, precision: Precision) -> Path:
    """Where a version's folder keeps the network for a precision."""
    return folder / FOLDER / FILES[precision]


class OpenVinoModel:
    """One compiled network, for batches of one size.

    Args:
        folder: a published version's, or one being staged.
        precision: see `offered`.
        streams: inferences at the same time.
        threads: CPU threads of all streams together.

    Raises:
        RuntimeError: OpenVINO cannot read or compile it; OpenVINO's own words.
    """

    def __init__(self, folder: Path, precision: Precision, *, streams: int, threads: int) -> None:
        core = import_openvino().Core()
        model = core.read_model(model_file(folder, precision))
        height, width = (model.input(0).get_partial_shape()[axis].get_length() for axis in (1, 2))
        model.reshape([1, height, width, 3])
        self._compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": HINTS[precision],
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": threads,
                "ENABLE_CPU_PINNING": False,  # two versions run beside each other during a swap
            },
        )

    def request(self) -> "OpenVinoRequest":
        """A seat of its own: each thread that infers needs one."""
        return OpenVinoRequest(self._compiled.create_infer_request())


class OpenVinoRequest:
    """One inference at a time, with its own input and output memory."""

    def __init__(self, request: Any) -> None:  # openvino.InferRequest, whose package is imported late
        self._request = request
        self._tensor = import_openvino().Tensor

    def infer(self, image: Pixels) -> NDArray[np.float32]:
        """(1, H, W, 3) uint8 -> (1,) float32 P(`classes[1]`)."""
        owned = np.require(image, requirements=["C", "W"])  # OpenVINO shares only memory that it could write to
        self._request.set_input_tensor(self._tensor(owned, shared_memory=True))  # the wrapper's way costs 0.1 ms
        self._request.infer()
        return np.array(self._request.get_output_tensor(0).data[:, 0], dtype=np.float32)  # (1,) float32


def import_openvino() -> ModuleType:
    """OpenVINO without its telemetry, which would send an event over the network at each import."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes the import fail, as meant
    return importlib.import_module("openvino")  # 0.3 s and 50 MB that only an engine and a conversion need
