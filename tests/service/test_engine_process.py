"""The parts of the engine process that need no TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest

from contract.records import Failure
from service.engine_loading import best_batch, infer_checked, together, warm_up
from service.engine_process import OOM_SCORE
from service.engine_wire import Batch, EngineImage, encode_frame, error_of, failure_of


class Answering:
    """A runtime that answers what it is told to."""

    name = "fake-f32"

    def __init__(self, *answers: float) -> None:
        self.answers = answers

    def infer(self, images: np.ndarray, *, alone: bool) -> tuple[float, ...]:
        return self.answers


def test_the_smallest_batch_that_is_nearly_the_fastest_is_taken() -> None:
    assert best_batch({1: 0.010, 2: 0.012, 4: 0.020, 8: 0.039, 16: 0.078}) == 4
    assert best_batch({1: 0.010}) == 1


def test_images_that_are_soon_done_cross_in_fours_and_slow_ones_alone() -> None:
    assert [together(seconds) for seconds in (1e-6, 0.0035, 0.006, 0.01, 0.3)] == [4, 4, 2, 1, 1]


@pytest.mark.parametrize(("most", "expected"), [(32, 4), (3, 3), (1, 1)])
def test_the_warm_up_says_what_the_engine_takes(most: int, expected: int) -> None:
    class Quick(Answering):
        batch_sizes, workers, streams = (1,), 4, 2
        clock = staticmethod(iter((5.0, 5.002)).__next__)

        def seat(self) -> "Quick":
            return self

    capacity = warm_up(Quick(0.5), (8, 8), decode_s=0.001, most=most)
    assert (capacity.workers, capacity.in_flight, capacity.batch_size) == (4, 6, expected)
    assert capacity.image_seconds > 0.001


@pytest.mark.parametrize("answers", [(0.5,), (0.5, float("nan")), (0.5, 1.5), (-0.1, 0.5)])
def test_an_answer_that_is_no_probability_per_image_is_refused(answers: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="2 images gave"):
        infer_checked(Answering(*answers), np.zeros((2, 8, 8, 3), np.uint8), alone=True)


def test_errors_keep_their_class_on_the_wire() -> None:
    for name in ("invalid_image", "image_too_large", "version_corrupt", "load_failed"):
        error = error_of(failure_of(error_of(Failure(name, "why"))))
        assert (error.code, error.message) == (name, "why")
    assert error_of(Failure("from_the_future", "why")).code == "engine_unavailable"


def test_a_frame_says_how_long_it_is() -> None:
    header, body = encode_frame(Batch(7, (EngineImage(b"abc", encoded=True),)))
    assert int.from_bytes(header, "big") == len(body)


def test_the_front_process_does_not_load_tensorflow() -> None:
    code = "import sys, service.predictor, service.watcher; print([n for n in sys.modules if 'tensorflow' in n])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"[]\n"


def test_the_kernel_ends_an_engine_before_the_listener_and_keeps_no_core() -> None:
    """In a process of its own, which ours would be for the rest of all tests."""
    code = (
        "import resource; from pathlib import Path; from service.engine_process import go_first; "
        "score = Path('/proc/self/oom_score_adj'); before = int(score.read_text()); go_first(); "
        "print(int(score.read_text()) - before, resource.getrlimit(resource.RLIMIT_CORE)[0], before)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    raised, core, before = map(int, told)
    assert raised == min(OOM_SCORE, 1000 - before)
    assert core == 0
