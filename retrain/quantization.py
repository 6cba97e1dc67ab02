"""`openvino/f32.xml` -> `openvino/int8.xml`, by NNCF after the training, as a process of its own. LINE B step 4.

    python -m retrain.quantization FOLDER IMAGES.npy

Without TensorFlow in it: 0.4 GB for VGG16, 0.6 GB for ResNet50 at 224 (measured).
"""

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from contract.images import Pixels
from contract.openvino_model import Precision, import_openvino, model_file
from retrain.own_process import Tell, be_child

INTERVAL_S = 2.0


class Calibration:
    """Images one at a time, which tells how far it is."""

    def __init__(self, images: Pixels, tell: Tell) -> None:
        self._images = images
        self._tell = tell
        self._told_s = 0.0

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Pixels]:
        """(1, H, W, 3) uint8 each."""
        for number, image in enumerate(self._images, start=1):
            if time.monotonic() - self._told_s >= INTERVAL_S:
                self._told_s = time.monotonic()
                self._tell(f"quantising the network: calibration image {number} of {len(self)}")
            yield image[None]


def quantize(folder: Path, images: Pixels, tell: Tell) -> None:
    """Quantise with (N, H, W, 3) uint8 images of the training.

    The slower bias correction: with the fast one 3-4 of 200 photos flipped, with this one 0 or 1 (MobileNet 0.25).
    """
    openvino = import_openvino()
    import nncf  # noqa: PLC0415  # only after OpenVINO without its telemetry, which NNCF would use as well

    nncf.set_log_level(logging.ERROR)
    model = nncf.quantize(
        openvino.Core().read_model(model_file(folder, Precision.F32)),
        nncf.Dataset(Calibration(images, tell)),
        subset_size=len(images),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=False,
    )
    openvino.save_model(model, model_file(folder, Precision.INT8), compress_to_fp16=False)


if __name__ == "__main__":
    be_child(lambda tell: quantize(Path(sys.argv[1]), np.load(sys.argv[2], mmap_mode="r"), tell))
