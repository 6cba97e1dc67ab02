"""contract.openvino_model: a network from a folder, answered by threads of their own, without telemetry."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from contract.openvino_model import OpenVinoModel, Precision, import_openvino, model_file, offered, runtime_name

SIDE = 4


def mean_network(folder: Path) -> None:
    """P = mean of all values / 255, written with OpenVINO's own operations."""
    openvino = import_openvino()
    from openvino import opset13 as operations

    image = operations.parameter([-1, SIDE, SIDE, 3], np.uint8, name="image")
    scaled = operations.divide(operations.convert(image, "f32"), np.float32(255))
    mean = operations.reduce_mean(scaled, np.array([1, 2]), keep_dims=False)
    probability = operations.reduce_mean(mean, np.array([1]), keep_dims=True)
    (folder / "openvino").mkdir()
    openvino.save_model(openvino.Model([probability], [image]), model_file(folder, Precision.F32))


def test_each_thread_answers_from_a_seat_of_its_own(tmp_path: Path) -> None:
    mean_network(tmp_path)
    model = OpenVinoModel(tmp_path, Precision.F32, streams=2, threads=2)

    def answer(value: int) -> list[float]:
        request = model.request()
        image = np.full((1, SIDE, SIDE, 3), value, np.uint8)
        answers = [request.infer(image) for _ in range(50)]
        assert all(one.shape == (1,) and one.dtype == np.float32 for one in answers)
        return [float(one[0]) for one in answers]

    values = list(range(0, 256, 5))
    with ThreadPoolExecutor(4) as threads:
        for value, answers in zip(values, threads.map(answer, values), strict=True):
            assert answers == [pytest.approx(value / 255, abs=1e-6)] * 50


def test_an_answer_is_not_overwritten_by_the_next(tmp_path: Path) -> None:
    mean_network(tmp_path)
    request = OpenVinoModel(tmp_path, Precision.F32, streams=1, threads=1).request()
    black, white = (np.full((1, SIDE, SIDE, 3), value, np.uint8) for value in (0, 255))
    first = request.infer(black)
    request.infer(white)
    assert first[0] == 0


def test_images_that_may_not_be_written_to_are_answered(tmp_path: Path) -> None:
    mean_network(tmp_path)
    request = OpenVinoModel(tmp_path, Precision.F32, streams=1, threads=1).request()
    read_only = np.frombuffer(bytes(range(SIDE * SIDE * 3)), np.uint8).reshape(1, SIDE, SIDE, 3)
    turned = np.asfortranarray(read_only)
    assert [float(request.infer(each)[0]) for each in (read_only, turned)] == [pytest.approx(23.5 / 255)] * 2


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "openvino").mkdir()
    model_file(tmp_path, Precision.F32).write_text("<nothing/>")
    with pytest.raises(RuntimeError):
        OpenVinoModel(tmp_path, Precision.F32, streams=1, threads=1)


def test_precisions_are_named_the_fastest_first() -> None:
    here = offered()
    assert Precision.F32 in here
    assert list(here) == [one for one in Precision if one in here]
    assert [runtime_name(one) for one in Precision] == ["openvino-int8", "openvino-bf16", "openvino-f32"]


def test_openvino_comes_without_telemetry_and_only_when_asked() -> None:
    program = (
        "import sys, contract.openvino_model as model; assert 'openvino' not in sys.modules;"
        "model.import_openvino(); print(sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "None\n", done.stderr
