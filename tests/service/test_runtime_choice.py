"""Which runtimes are tried, from what is wished, what is there and what was measured."""

from dataclasses import replace

import pytest

from contract.openvino_model import Precision
from contract.parity import Parity, ParityPolicy
from contract.records import PrecisionChoice, RuntimeChoice
from service.runtime_choice import Choice, Here, Wish, choose

INT8, BF16, F32 = Precision.INT8, Precision.BF16, Precision.F32
HERE = Here(gpu=False, computed=(INT8, BF16, F32), stored=(INT8, BF16, F32))
GOOD = Parity(200, 0.01, 0.001, flipped=0, furthest_flip=0.0, accuracy=0.95, reference_accuracy=0.95)
PARITY = {f"openvino-{precision}": GOOD for precision in Precision}
AUTO = Wish()


@pytest.mark.parametrize(
    ("wish", "here", "precisions", "note"),
    [
        (AUTO, HERE, (INT8, BF16, F32, None), ""),
        (AUTO, replace(HERE, gpu=True), (None,), "OpenVINO: this machine has a GPU"),
        (AUTO, replace(HERE, stored=()), (None,), "OpenVINO: the version has no network for it"),
        (AUTO, replace(HERE, computed=(INT8, F32)), (INT8, F32, None), "openvino-bf16: this processor has no bf16"),
        (AUTO, replace(HERE, stored=(BF16, F32)), (BF16, F32, None), "openvino-int8: the version has none"),
        (replace(AUTO, runtime=RuntimeChoice.TENSORFLOW), HERE, (None,), ""),
        (replace(AUTO, runtime=RuntimeChoice.OPENVINO), replace(HERE, gpu=True), (INT8, BF16, F32), ""),
        (replace(AUTO, runtime=RuntimeChoice.OPENVINO), replace(HERE, stored=()), (), "the version has no network"),
        (replace(AUTO, precision=PrecisionChoice.BF16), HERE, (BF16,), ""),
        (
            replace(AUTO, precision=PrecisionChoice.BF16),
            replace(HERE, computed=(F32,)),
            (),
            "this processor has no bf16",
        ),
        (replace(AUTO, precision=PrecisionChoice.BF16), replace(HERE, stored=()), (None,), "no network for it"),
    ],
)
def test_what_is_tried(wish: Wish, here: Here, precisions: tuple[Precision | None, ...], note: str) -> None:
    choice = choose(wish, here, PARITY)
    assert choice.precisions == precisions
    assert note in ". ".join(choice.notes)
    assert bool(choice.notes) == bool(note)


def test_a_precision_that_flips_too_much_is_passed_over_and_named() -> None:
    parity = {**PARITY, "openvino-int8": replace(GOOD, flipped=5, furthest_flip=0.05)}
    choice = choose(AUTO, HERE, parity)
    assert choice == Choice((BF16, F32, None), ("openvino-int8: 5 of 200 decisions flipped; at most 1 may",))
    generous = replace(AUTO, policy=ParityPolicy(flipped_share=0.05))
    assert choose(generous, HERE, parity).precisions == (INT8, BF16, F32, None)


def test_a_forced_precision_needs_no_parity() -> None:
    assert choose(replace(AUTO, precision=PrecisionChoice.INT8), HERE, {}).precisions == (INT8,)


def test_a_precision_without_parity_is_passed_over() -> None:
    choice = choose(AUTO, HERE, {"openvino-f32": GOOD})
    assert choice.precisions == (F32, None)
    assert choice.notes[0] == "openvino-int8: its parity was not measured"
