"""The serving table's verdicts, on figures made up for them."""

import pytest

from benchmarks.serving_result import LIMIT, RIPEN, Case, Sample, Start, judge, summarize
from contract.openvino_model import Precision
from contract.records import RuntimeChoice

BF16 = (RuntimeChoice.OPENVINO, Precision.BF16)
TENSORFLOW = (RuntimeChoice.TENSORFLOW, Precision.F32)
Samples = dict[Case, list[Sample]]


def case(server: str, concurrency: int, protocol: str = "", on: tuple[RuntimeChoice, Precision] = BF16) -> Case:
    return Case("MobileNetV2", server, protocol, *on, concurrency)


def rounds(*rates: float, p50_ms: float = 1.0, wrong: int = 0) -> list[Sample]:
    return [Sample(rate, 2.5, p50_ms, 3.0, wrong) for rate in rates]


def verdict(samples: Samples, part: str, starts: tuple[Start, ...] = ()) -> tuple[float, bool]:
    found = [one for one in judge(summarize(samples), starts, ["triton", "litserve"]) if part in one.line]
    assert len(found) == 1, found
    return round(found[0].figure, 3), found[0].holds


def test_a_row_has_the_median_and_the_spread_of_its_rounds() -> None:
    (row,) = summarize({case(LIMIT, 0): rounds(300, 100, 200)})
    assert (row.images_per_s, row.lowest, row.highest) == (200, 100, 300)


def test_throughput_is_compared_with_the_limit_of_the_same_round() -> None:
    """A machine that was twice as slow in one round was so for both."""
    samples = {case(LIMIT, 0): rounds(100, 200, 200), case(RIPEN, 32, "REST"): rounds(86, 172, 172)}
    assert verdict(samples, "32 at once") == (0.86, True)


@pytest.mark.parametrize(
    ("protocol", "share", "holds"),
    [
        ("REST", 84, False),
        ("ripen.v1", 70, True),
        ("ripen.v1", 69, False),
        ("TF Serving gRPC", 65, True),
        ("TF Serving gRPC", 64, False),
    ],
)
def test_each_protocol_has_its_share_of_the_limit(protocol: str, share: float, *, holds: bool) -> None:
    samples = {case(LIMIT, 0): rounds(100), case(RIPEN, 32, protocol): rounds(share)}
    assert verdict(samples, f"{protocol}, 32")[1] is holds


def test_one_at_a_time_is_compared_with_one_image_in_process() -> None:
    samples = {case(LIMIT, 0): rounds(100), case(LIMIT, 1): rounds(50, p50_ms=4.0)}
    assert verdict(samples | {case(RIPEN, 1, "REST"): rounds(40, p50_ms=4.9)}, "1 at once") == (0.9, True)
    assert verdict(samples | {case(RIPEN, 1, "REST"): rounds(40, p50_ms=5.1)}, "1 at once") == (1.1, False)


def test_the_best_peer_at_its_best_concurrency_is_what_is_beaten() -> None:
    samples = {
        case(LIMIT, 0): rounds(700),
        case(RIPEN, 32, "REST"): rounds(600),
        case("triton", 8, "Open Inference gRPC"): rounds(490),
        case("triton", 32, "Open Inference gRPC"): rounds(400),
        case("litserve", 32, "HTTP"): rounds(450),
        case("fastapi", 32, "HTTP"): rounds(610),
        case("litserve", 8, "HTTP", TENSORFLOW): rounds(165),
    }
    assert verdict(samples, "times triton on openvino") == (1.224, True)
    assert verdict(samples, "times fastapi on openvino") == (0.984, False)
    assert verdict(samples, "times litserve on tensorflow") == (3.636, True)


def test_a_peer_at_another_precision_is_not_compared() -> None:
    f32 = (RuntimeChoice.OPENVINO, Precision.F32)
    samples = {
        case(LIMIT, 0): rounds(700),
        case(RIPEN, 32, "REST"): rounds(600),
        case("triton", 32, "x", f32): rounds(1),
    }
    assert not [one for one in judge(summarize(samples), (), ["triton"]) if "triton" in one.line]


def test_a_wrong_answer_fails_the_run() -> None:
    assert verdict({case(RIPEN, 32, "REST"): rounds(1, wrong=1)}, "wrong answers") == (1, False)
    assert verdict({case("triton", 32, "x"): rounds(1, wrong=1)}, "wrong answers") == (0, True)


def test_start_and_memory_are_medians() -> None:
    starts = tuple(Start("MobileNetV2", Precision.BF16, each, 140.0, 360.0) for each in (2.0, 2.5, 9.0))
    assert verdict({}, "start to ready", starts) == (2.5, True)
    assert verdict({}, "engine", starts) == (360.0, False)
    assert verdict({}, "front", starts) == (140.0, True)
