"""What OpenVINO answers at each precision of this processor, as a process of its own, and that in words. LINE B step 4.

    python -m retrain.runtime_parity FOLDER IMAGES.npy

writes `<precision>.npy`, (N,) float32, beside IMAGES.npy, the safest precision first: each file is whole or not there.
"""

import os
import sys
from pathlib import Path

import numpy as np

from contract.images import Pixels
from contract.openvino_model import OpenVinoModel, Precision, model_file, offered, runtime_name
from contract.parity import Parity, ParityPolicy, objections
from retrain.evaluation import Probabilities
from retrain.own_process import Tell, be_child


def answer_all(folder: Path, file: Path, tell: Tell) -> None:
    """Answer the images of `file` at every precision that processor and folder have."""
    images = np.load(file, mmap_mode="r")  # (N, H, W, 3) uint8
    for precision in reversed(offered()):
        if model_file(folder, precision).exists():
            tell(f"asking {runtime_name(precision)} about {len(images)} images")
            half = file.with_name("half.npy")
            np.save(half, answer(folder, precision, images))
            half.replace(answers_file(file, precision))


def answer(folder: Path, precision: Precision, images: Pixels) -> Probabilities:
    """(N, H, W, 3) uint8 -> (N,) float32 P(`classes[1]`)."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    request = OpenVinoModel(folder, precision, streams=1, threads=threads).request()
    return np.concatenate([request.infer(image[None]) for image in images])


def answers_file(images: Path, precision: Precision) -> Path:
    """Where the answers for a file of images are."""
    return images.with_name(f"{precision}.npy")


def describe(name: str, parity: Parity) -> str:
    """One line for the job: the figures, and whether the default policy would serve it."""
    broken = objections(parity, ParityPolicy())
    return (
        f"{name}: max {parity.max_difference:.2g}, mean {parity.mean_difference:.2g}, {parity.flipped} of "
        f"{parity.images} flipped, accuracy {parity.accuracy:.3f} of {parity.reference_accuracy:.3f}: "
        + ("passes" if not broken else "does not pass: " + "; ".join(broken))
    )


if __name__ == "__main__":
    be_child(lambda tell: answer_all(Path(sys.argv[1]), Path(sys.argv[2]), tell))
