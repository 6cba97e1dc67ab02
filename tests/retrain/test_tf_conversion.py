"""A staged SavedModel gets `openvino/`, compared with TensorFlow; whatever fails costs the version nothing."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_network

from contract.errors import ConversionFailed
from contract.openvino_model import Precision, model_file, offered, runtime_name
from contract.parity import ParityPolicy, compare, objections
from retrain import conversion, runtime_parity
from retrain.conversion import Answers, Converted, Converter, Samples
from retrain.own_process import OwnProcess

NAMES = {runtime_name(precision) for precision in offered()}
FILES = {"f32.xml", "f32.bin", "int8.xml", "int8.bin"}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Samples, Converted, list[str]]:
    """One real conversion, all three processes of it; with what it told."""
    folder = tmp_path_factory.mktemp("work") / "version-1"
    tiny_network.make(folder)
    samples = tiny_network.samples(folder)
    told: list[str] = []
    return folder, samples, Converter().convert(folder, samples, told.append), told


def test_the_network_is_converted_whole(converted: tuple[Path, Samples, Converted, list[str]]) -> None:
    folder, _, done, _ = converted
    assert done.failure == ""
    assert {file.name for file in (folder / "openvino").iterdir()} == FILES
    assert set(done.parity) == set(done.golden) == NAMES
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing of the users' images stays


def test_float32_answers_as_tensorflow(converted: tuple[Path, Samples, Converted, list[str]]) -> None:
    _, samples, done, _ = converted
    assert done.parity["openvino-f32"].max_difference < 1e-5
    np.testing.assert_allclose(done.golden["openvino-f32"], samples.golden_reference, atol=1e-5)
    assert np.ptp(samples.reference) > 1e-3  # else nothing was shown


def test_every_precision_is_measured_on_the_hold_out(converted: tuple[Path, Samples, Converted, list[str]]) -> None:
    folder, samples, done, told = converted
    for precision in offered():
        name = runtime_name(precision)
        given = runtime_parity.answer(folder, precision, samples.holdout)
        again = compare(samples.reference, given, samples.labels.tolist(), threshold=samples.threshold)
        assert done.parity[name] == again
        assert any(line.startswith(f"{name}: max") and "of 10 flipped" in line for line in told)
        assert np.ptp(done.golden[name]) > 1e-3


def test_what_may_serve_is_said() -> None:
    reference = np.array([0.9, 0.9, 0.1], np.float32)
    good = compare(reference, reference, [1, 1, 0], threshold=0.5)
    assert runtime_parity.describe("openvino-f32", good) == (
        "openvino-f32: max 0, mean 0, 0 of 3 flipped, accuracy 1.000 of 1.000: passes"
    )
    bad = compare(reference, 1 - reference, [1, 1, 0], threshold=0.5)
    assert "does not pass: 3 of 3 decisions" in runtime_parity.describe("openvino-int8", bad)
    assert objections(bad, ParityPolicy())


PROGRAM = """
import os, runpy, shutil, sys
module, *arguments = sys.argv[1:]
{acts}
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def breaking(tmp_path: Path, acts: dict[str, str], timeout_s: float = 120) -> Converter:
    """Real processes, but some modules do something else first."""
    program = tmp_path / "breaking.py"
    lines = [f"if module == 'retrain.{module}': {act}" for module, act in acts.items()]
    program.write_text(PROGRAM.format(acts="\n".join(lines)))
    return Converter(OwnProcess((sys.executable, str(program)), timeout_s))


def copying(converted: tuple[Path, Samples, Converted, list[str]]) -> dict[str, str]:
    """A conversion that takes what an earlier one made: in no time."""
    made = str(converted[0] / "openvino")
    copies = [f"shutil.copy({made!r} + '/{name}', arguments[1] + '/openvino')" for name in ("f32.xml", "f32.bin")]
    return {"tf_conversion": "; ".join([*copies, "sys.exit()"])}


@pytest.fixture
def staged(converted: tuple[Path, Samples, Converted, list[str]], tmp_path: Path) -> tuple[Path, Samples]:
    """A SavedModel without openvino/."""
    folder = tmp_path / "work" / "version-1"
    folder.mkdir(parents=True)
    for path in converted[0].iterdir():
        if path.name != "openvino":
            (folder / path.name).symlink_to(path)
    return folder, converted[1]


@pytest.mark.parametrize(
    ("act", "timeout_s", "words"),
    [("os.abort()", 120, "SIGABRT"), ("import threading; threading.Event().wait()", 0.5, "longer than 0.5 s")],
)
def test_a_conversion_that_dies_leaves_nothing(
    staged: tuple[Path, Samples], tmp_path: Path, act: str, timeout_s: float, words: str
) -> None:
    folder, samples = staged
    done = breaking(tmp_path, {"tf_conversion": act}, timeout_s).convert(folder, samples, lambda _: None)
    assert done == Converted(failure=done.failure)
    assert done.failure.startswith("There is no network for OpenVINO: ")
    assert words in done.failure
    assert not (folder / "openvino").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_without_int8_the_rest_is_published(
    staged: tuple[Path, Samples], converted: tuple[Path, Samples, Converted, list[str]], tmp_path: Path
) -> None:
    folder, samples = staged
    done = breaking(tmp_path, {**copying(converted), "quantization": "os.abort()"}).convert(
        folder, samples, lambda _: None
    )
    assert done.failure.startswith("There is no int8 network: retrain.quantization: killed by SIGABRT")
    assert {file.name for file in (folder / "openvino").iterdir()} == {"f32.xml", "f32.bin"}
    assert set(done.parity) == set(done.golden) == NAMES - {"openvino-int8"}
    assert done.golden["openvino-f32"] == converted[2].golden["openvino-f32"]


def test_an_openvino_that_cannot_answer_is_not_published(
    staged: tuple[Path, Samples], converted: tuple[Path, Samples, Converted, list[str]], tmp_path: Path
) -> None:
    folder, samples = staged
    acts = dict.fromkeys(("quantization", "runtime_parity"), "sys.modules['openvino'] = None")
    done = breaking(tmp_path, {**copying(converted), **acts}).convert(folder, samples, lambda _: None)
    assert "ModuleNotFoundError" in done.failure
    assert not (folder / "openvino").exists()


def test_a_disk_without_room_costs_only_openvino(staged: tuple[Path, Samples]) -> None:
    folder, samples = staged
    (folder.parent / "version-1-openvino").write_text("in the way")
    done = Converter().convert(folder, samples, lambda _: None)
    assert "There is no network for OpenVINO" in done.failure
    assert not (folder / "openvino").exists()


def answers(samples: Samples, by: float, *more: Precision) -> Answers:
    """TensorFlow's own, at f32 off by `by`."""
    own = np.concatenate([samples.golden_reference, samples.reference])
    return Answers({Precision.F32: own + np.float32(by), **dict.fromkeys(more, own)}, "killed")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda samples: answers(samples, 2e-4), "differs from TensorFlow by 0.0002"),
        (lambda samples: answers(samples, float("nan"), Precision.INT8), "differs from TensorFlow by nan"),
        (lambda samples: Answers({}, "killed by SIGILL."), "SIGILL"),
    ],
)
def test_another_graph_is_not_published(
    converted: tuple[Path, Samples, Converted, list[str]], given: Callable[[Samples], Answers], words: str
) -> None:
    with pytest.raises(ConversionFailed, match=words):
        conversion.compare(given(converted[1]), converted[1], "", lambda _: None)


def test_precisions_that_answered_before_a_crash_count(
    converted: tuple[Path, Samples, Converted, list[str]],
) -> None:
    done = conversion.compare(answers(converted[1], 5e-5), converted[1], "", lambda _: None)
    assert (set(done.parity), done.failure) == ({"openvino-f32"}, "killed")


def test_the_folder_that_is_converted_is_the_one_that_tensorflow_reads(
    converted: tuple[Path, Samples, Converted, list[str]],
) -> None:
    text = model_file(converted[0], Precision.F32).read_text()
    assert '"u8"' in text
    assert "32,32,3" in text
