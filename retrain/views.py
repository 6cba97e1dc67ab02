"""An image and its seeded variations, of which a training sees another one at every epoch. LINE B, cache.

Each view goes through the frozen layers once, as the image itself does: augmenting the activations instead hurts.
Source: arXiv 2508.15033, where naive augmentation of cached feature maps lost accuracy.
"""

import hashlib

import numpy as np

from contract.images import Pixels, resize

LEAST_SIDE, MOST_SIDE = 0.75, 0.95  # of a crop, as a share of the image's
NAME = b"view 1: mirror, crops of 0.75 to 0.95"  # in the keys of activations: another way of drawing has another name


def key(digest: bytes, number: int) -> bytes:
    """What identifies a view of an image: its own sha256 for view 0, another one made of it for the others."""
    return hashlib.sha256(b"%s %d %s" % (NAME, number, digest)).digest() if number else digest


def draw(pixels: Pixels, number: int, digest: bytes) -> Pixels:
    """One view: 0 the image, 1 its mirror, 2 and more crops that the image's digest chooses, every other one mirrored.

    Args:
        pixels: (H, W, 3) uint8.
        number: of the view, from 0.
        digest: the sha256 of the image.

    Returns:
        (H, W, 3) uint8.
    """
    if number > 1:
        pixels = _crop(pixels, np.random.default_rng(list(key(digest, number))))
    return pixels[:, ::-1] if number % 2 else pixels


def _crop(pixels: Pixels, random: np.random.Generator) -> Pixels:
    height, width, _ = pixels.shape
    share = random.uniform(LEAST_SIDE, MOST_SIDE)
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    top, left = random.integers(0, height - rows + 1), random.integers(0, width - columns + 1)
    return resize(np.ascontiguousarray(pixels[top : top + rows, left : left + columns]), height, width)
