"""Copies of a picture are found, other pictures are not: on drawn ones, and on photographs where PHOTOS names them."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import orchard
import pytest
from changed_pictures import CHANGES, LIMITS, Change, encoded, mirrored

from contract.images import Pixels, decode
from retrain.near_duplicates import find_pairs, sign
from ripen.sample_set import draw_jpeg, sample_pictures

PHOTOS = Path(os.environ.get("PHOTOS", "absent"))


def signatures(images: Sequence[Pixels]) -> Pixels:
    return np.stack([sign(image) for image in images])


def pairs_of(images: Sequence[Pixels]) -> list[tuple[int, int]]:
    return find_pairs(signatures(images), np.full(len(images), -1, np.int64))


def missed(images: Sequence[Pixels], change: Change, seed: int = 1) -> int:
    """How many changed copies are not found."""
    random = np.random.default_rng(seed)
    return sum(pairs_of([image, change(image, random)]) != [(0, 1)] for image in images)


@pytest.fixture(scope="module")
def drawn() -> list[Pixels]:
    """200 pictures of alike things: half apples, half oranges."""
    pictures = list(sample_pictures())
    return [decode(draw_jpeg(picture), LIMITS) for picture in (*pictures[:100], *pictures[400:500])]


def surface(seed: int) -> Pixels:
    """A plain, unevenly lit surface with the grain of its material: nothing that a keypoint could be found on."""
    random = np.random.default_rng(seed)
    light = cv2.resize(random.uniform(90, 150, (4, 4)).astype(np.float32), (240, 180), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(random.standard_normal((180, 240)).astype(np.float32), (0, 0), 2.0)
    grey = light + 6 * grain / grain.std()
    return encoded(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2), 90)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_copies_of_drawn_pictures_are_found(drawn: list[Pixels], change: Change) -> None:
    assert missed(drawn[::2], change) <= 2


def test_pictures_of_alike_things_are_not_merged(drawn: list[Pixels]) -> None:
    assert pairs_of(drawn) == []


def test_the_same_form_in_another_colour_is_another_picture() -> None:
    apple, orange = (decode(orchard.picture(label, 1), LIMITS) for label in orchard.CLASSES)
    assert pairs_of([apple, orange]) == []
    assert pairs_of([apple, mirrored(apple)]) == [(0, 1)]


def test_noisy_pictures_are_not_merged() -> None:
    pictures = [decode(orchard.picture(orchard.CLASSES[seed % 2], seed), LIMITS) for seed in range(120)]
    assert pairs_of(pictures) == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_copies_of_plain_surfaces_are_found(change: Change) -> None:
    assert missed([surface(seed) for seed in range(50)], change) <= 1


def test_plain_surfaces_are_not_merged() -> None:
    assert pairs_of([surface(seed) for seed in range(200)]) == []


def test_where_there_is_no_picture_nothing_is_alike() -> None:
    flat = [np.full((50, 60, 3), level, np.uint8) for level in (0, 0, 128, 255)]
    assert pairs_of(flat) == []


def test_only_newcomers_and_other_kinds_are_compared(drawn: list[Pixels]) -> None:
    first, second = drawn[0], drawn[1]
    copies = signatures([first, second, mirrored(first), mirrored(second)])
    for kinds, expected in (
        ([0, 0, 0, 0], []),
        ([0, 0, 1, 0], [(0, 2)]),
        ([0, 0, 0, -1], [(1, 3)]),
        ([-1, 0, -1, 0], [(0, 2)]),
        ([-1, -1, -1, -1], [(0, 2), (1, 3)]),
    ):
        assert find_pairs(copies, np.array(kinds)) == expected


def test_more_images_than_a_block(drawn: list[Pixels]) -> None:
    copies = [mirrored(image) for image in drawn]
    assert pairs_of([*drawn, *copies]) == [(place, place + 200) for place in range(200)]


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="PHOTOS names no data")
@pytest.mark.timeout(900)
def test_photographs() -> None:
    photos = [decode(path.read_bytes(), LIMITS) for path in sorted(PHOTOS.glob("*/*/*"))]
    merged = pairs_of(photos)
    count = len(photos) * (len(photos) - 1) // 2
    print(f"{len(merged)} of {count} pairs of different photographs are merged")
    assert len(merged) < 0.01 * count
    chosen = np.random.default_rng(0).permutation(len(photos))[:200]
    for name, change in CHANGES.items():
        wrong = missed([photos[place] for place in chosen], change)
        print(f"{name}: {wrong} of {len(chosen)} copies missed")
        assert wrong <= 0.02 * len(chosen)
