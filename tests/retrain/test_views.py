"""Views of an image: seeded by the image, told apart by their keys."""

import hashlib

import numpy as np

from retrain import views

DIGEST = hashlib.sha256(b"an image").digest()
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def test_the_first_views_are_the_image_and_its_mirror() -> None:
    assert np.array_equal(views.draw(PIXELS, 0, DIGEST), PIXELS)
    assert np.array_equal(views.draw(PIXELS, 1, DIGEST), PIXELS[:, ::-1])


def test_crops_depend_on_the_image_and_the_number_only() -> None:
    first = views.draw(PIXELS, 2, DIGEST)
    assert first.shape == PIXELS.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, views.draw(PIXELS, 2, DIGEST))
    other = views.draw(PIXELS, 2, hashlib.sha256(b"another image").digest())
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, views.draw(PIXELS, 4, DIGEST))


def test_a_crop_shows_most_of_the_image_and_nothing_else() -> None:
    """Where a row's colour says which row it is, a crop holds neighbouring rows, at least three quarters of them."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], (200, 60, 3))
    for number in range(2, 12):
        drawn = views.draw(ramp, number, DIGEST)[:, 0, 0].astype(int)
        assert (np.diff(drawn) >= 0).all()
        assert 0.72 * 200 <= drawn[-1] - drawn[0] <= 0.96 * 200


def test_keys_tell_views_apart() -> None:
    assert views.key(DIGEST, 0) == DIGEST
    keys = {views.key(digest, number) for digest in (DIGEST, DIGEST[::-1]) for number in range(5)}
    assert len(keys) == 10
    assert {len(key) for key in keys} == {32}
