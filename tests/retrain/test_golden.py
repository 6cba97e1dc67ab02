"""The drawn pool: always the same, decodable, and the most telling pictures of it."""

import numpy as np
import pytest

from contract.images import ImageLimits, inspect
from retrain.golden import POOL, choose_spread, draw_pool


def test_the_pool_is_always_the_same_and_exercises_both_decoders() -> None:
    pool = draw_pool()
    assert draw_pool() == pool
    assert len({drawing.data for drawing in pool}) == POOL
    headers = [inspect(drawing.data, ImageLimits()) for drawing in pool]
    assert {header.format for header in headers} == {"JPEG", "PNG"}
    assert len({(header.width, header.height, header.format) for header in headers}) == 8
    assert sum(len(drawing.data) for drawing in pool) < 1_000_000


@pytest.mark.parametrize(
    ("probabilities", "count", "places"),
    [
        ([0.1, 0.2, 0.9, 0.5, 0.95], 3, [0, 3, 4]),
        ([0.5, 0.5, 0.5], 2, [0, 1]),
        ([0.3, 0.7], 16, [0, 1]),
    ],
)
def test_those_far_from_each_other_are_kept(probabilities: list[float], count: int, places: list[int]) -> None:
    assert choose_spread(np.array(probabilities, np.float32), count) == places
