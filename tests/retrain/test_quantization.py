"""int8 by NNCF: from a real f32 network, near to it, smaller, and without a word to the network."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contract.images import Pixels
from contract.openvino_model import Precision, import_openvino, model_file, offered
from retrain import runtime_parity
from retrain.quantization import Calibration

SIDE = 32
PROGRAM = """
import socket, sys
def refuse(*arguments): raise AssertionError("a connection")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import numpy
from pathlib import Path
from retrain.quantization import quantize
quantize(Path(sys.argv[1]), numpy.load(sys.argv[2], mmap_mode="r"), lambda line: print("told", line))
assert "tensorflow" not in sys.modules and sys.modules["openvino_telemetry"] is None
"""


def network(target: Path) -> None:
    """P = sigmoid(a random convolution of (N, 32, 32, 3) uint8, rectified and averaged), by OpenVINO's operations."""
    openvino = import_openvino()
    from openvino import opset13 as operations

    generator = np.random.default_rng(0)
    kernel = generator.normal(0, 0.3, (64, 3, 5, 5)).astype(np.float32)
    image = operations.parameter([-1, SIDE, SIDE, 3], np.uint8, name="image")
    scaled = operations.divide(operations.convert(image, "f32"), np.float32(255))
    planes = operations.transpose(scaled, np.array([0, 3, 1, 2]))
    edges = operations.relu(operations.convolution(planes, kernel, [2, 2], [0, 0], [0, 0], [1, 1]))
    vector = operations.reduce_mean(edges, np.array([2, 3]), keep_dims=False)
    weights = generator.normal(0, 0.3, (64, 1)).astype(np.float32)
    probability = operations.sigmoid(operations.matmul(vector, weights, False, False))
    openvino.save_model(openvino.Model([probability], [image]), target, compress_to_fp16=False)


def images(count: int, seed: int) -> Pixels:
    """(count, 32, 32, 3) uint8 of different colours."""
    generator = np.random.default_rng(seed)
    return (generator.integers(0, 200, (count, 1, 1, 3)) + generator.integers(0, 56, (count, SIDE, SIDE, 3))).astype(
        np.uint8
    )


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("quantized")
    (folder / "openvino").mkdir()
    network(model_file(folder, Precision.F32))
    np.save(folder / "images.npy", images(16, seed=1))
    command = [sys.executable, "-c", PROGRAM, str(folder), str(folder / "images.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_it_is_smaller_and_says_how_far_it_is(quantized: tuple[Path, str]) -> None:
    folder, said = quantized
    small, large = (model_file(folder, one).with_suffix(".bin").stat().st_size for one in ("int8", "f32"))
    assert small < 0.5 * large
    assert "told quantising the network: calibration image 1 of 16" in said


@pytest.mark.skipif(Precision.INT8 not in offered(), reason="this processor has no int8")
def test_it_answers_near_the_network(quantized: tuple[Path, str]) -> None:
    others = images(20, seed=2)
    exact, near = (runtime_parity.answer(quantized[0], one, others) for one in (Precision.F32, Precision.INT8))
    assert 0 < np.abs(exact - near).max() < 0.05
    assert np.corrcoef(exact, near)[0, 1] > 0.99


def test_calibration_gives_every_image_once_and_is_not_chatty() -> None:
    told: list[str] = []
    some = images(5, seed=3)
    given = list(Calibration(some, told.append))
    assert len(told) == 1
    np.testing.assert_array_equal(np.concatenate(given), some)
