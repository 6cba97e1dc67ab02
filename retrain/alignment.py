"""Whether an image is a window of another one: laid over each other, they must agree everywhere. LINE B, split.

Pictures of alike things agree where the things are, and no two photographs in their fine structure; copies do in both,
also of plain surfaces, which have no keypoints that could be matched.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from contract.images import Pixels

SIDE = 96  # of what is compared
CELLS = 8  # of a thumbnail's side
TILE = 12
LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # Source: ITU-R BT.601
STEPS = ((48, 50), (SIDE, 10))  # (side, iterations) of the search for the alignment
SEARCH_BLUR = 3  # pixels
FINEST, COARSEST = 0.7, 4.0  # pixels: deviations of the two blurs between which the fine structure lies
LEAST_COLOUR = 0.9  # correlation of thumbnails; copies have 0.93 or more
LEAST_COVER = 0.5  # of the one, by the other
LARGEST_SHIFT = 48.0  # levels of a colour's mean: the same form in red and in green is two pictures
LEAST_FINE = 0.7  # correlation; different photographs have 0.41 at most, 98 of 100 copies 0.9 or more
LEAST_TILES = 0.75  # share that agrees; different photographs have 0.25 at most, drawings of alike things 0.69
TILE_ERROR, TILE_SHARE = 6.0, 0.35  # a tile agrees within so many levels and so much of its own deviation

Plane = NDArray[np.float32]
Span = tuple[float, float]  # start and length on one axis, in [0, 1]


@dataclass(frozen=True)
class Window:
    """A part of an image."""

    rows: Span
    columns: Span


@dataclass(frozen=True)
class Overlay:
    """Two pictures, one on the other.

    Attributes:
        one, other: (96, 96, 3) float32.
        shown: (96, 96) bool, where there is something of both.
    """

    one: Plane
    other: Plane
    shown: NDArray[np.bool_]


WHOLE = Window((0.0, 1.0), (0.0, 1.0))


def show_same_picture(one: Pixels, other: Pixels, window: Window) -> bool:
    """Whether `one` shows what `other` shows in `window` or near it; (96, 96, 3) uint8 each."""
    if _fit_of_colours(one, other, window) < LEAST_COLOUR:  # a tenth of the time that the rest takes
        return False
    overlay = lay_over(one, other, align(one, other, window))
    return bool(
        overlay.shown.mean() >= LEAST_COVER
        and shift_of_colours(overlay) <= LARGEST_SHIFT
        and fit_of_fine_structure(overlay) >= LEAST_FINE
        and share_of_tiles(overlay) >= LEAST_TILES
    )


def align(one: Pixels, other: Pixels, window: Window) -> Plane:
    """The affine map, (2, 3), from places in `one` to places in `other`; the window's own where none fits better.

    Source: Evangelidis and Psarakis 2008, doi:10.1109/TPAMI.2008.113, as OpenCV does it.
    """
    (row, height), (column, width) = window.rows, window.columns
    affine = np.array([[width, 0, column], [0, height, row]], np.float32)  # of a side of 1
    planes = [grey_of(one), grey_of(other)]
    for side, iterations in STEPS:
        small, large = (cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in planes)
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, iterations, 1e-6)
        start, everywhere = _to_pixels(affine, side), np.ones((side, side), np.uint8)
        try:
            found = cv2.findTransformECC(small, large, start, cv2.MOTION_AFFINE, criteria, everywhere, SEARCH_BLUR)[1]
        except cv2.error:  # it diverged
            break
        affine = _from_pixels(np.asarray(found, np.float32), side)
    return affine


def lay_over(one: Pixels, other: Pixels, affine: Plane) -> Overlay:
    """Warp `other` onto `one`."""
    pixels, flags = _to_pixels(affine, SIDE), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(other.astype(np.float32), pixels, (SIDE, SIDE), flags=flags)
    inside = cv2.warpAffine(np.ones((SIDE, SIDE), np.float32), pixels, (SIDE, SIDE), flags=flags)
    return Overlay(one.astype(np.float32), np.asarray(warped, np.float32), inside > 0.99)


def shift_of_colours(overlay: Overlay) -> float:
    """How far the means of a colour are apart, of that which differs most; in levels."""
    means = [plane[overlay.shown].mean(axis=0) for plane in (overlay.one, overlay.other)]
    return float(np.abs(means[0] - means[1]).max())


def fit_of_fine_structure(overlay: Overlay) -> float:
    """The correlation of what lies between the two blurs; in [-1, 1]."""
    inner = cv2.erode(overlay.shown.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0  # a blur mixes the border in
    one, other = (_band(grey_of(plane))[inner] for plane in (overlay.one, overlay.other))
    return _correlate(one, other)


def share_of_tiles(overlay: Overlay) -> float:
    """The share of the tiles that agree, once each colour was made equally bright and strong overall; in [0, 1]."""
    whole = _tiles(overlay.shown).all(axis=1)
    if not whole.any():
        return 0.0
    squares = [_differences(overlay, colour) ** 2 for colour in range(3)]
    errors = np.sqrt(_tiles(np.mean(squares, axis=0))[whole].mean(axis=1))
    deviations = _tiles(grey_of(overlay.one))[whole].std(axis=1)
    return float(np.mean(errors <= TILE_ERROR + TILE_SHARE * deviations))


def grey_of(image: NDArray[np.uint8] | Plane) -> Plane:
    """(..., 3) colours -> (...) float32, 0-255."""
    return np.asarray(image.astype(np.float32) @ LUMA, np.float32)


@cache
def weigh(span: Span) -> Plane:
    """What averages a span of a line of 96 pixels into 8 cells that overlap by half: (8, 96), rows of sum 1."""
    places = (np.arange(SIDE) + 0.5) / SIDE
    centres = span[0] + span[1] * (np.arange(CELLS)[:, None] + 0.5) / CELLS
    weights = np.maximum(0, 1 - np.abs(places - centres) * CELLS / span[1])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _fit_of_colours(one: Pixels, other: Pixels, window: Window) -> float:
    return _correlate(_colours(one, WHOLE), _colours(other, window))


def _colours(image: Pixels, window: Window) -> Plane:
    """A window's thumbnail, each colour less its mean: (192,)."""
    planes = np.moveaxis(image, 2, 0).astype(np.float32)
    cells = weigh(window.rows) @ planes @ weigh(window.columns).T  # (3, 8, 8)
    return np.asarray(cells - cells.mean(axis=(1, 2), keepdims=True), np.float32).ravel()


def _band(plane: Plane) -> Plane:
    fine, coarse = (cv2.GaussianBlur(plane, (0, 0), deviation) for deviation in (FINEST, COARSEST))
    return np.asarray(fine - coarse, np.float32)


def _differences(overlay: Overlay, colour: int) -> Plane:
    """(96, 96) levels, after the best line through all pixels that are shown."""
    one, other = overlay.one[..., colour], overlay.other[..., colour]
    x, y = other[overlay.shown], one[overlay.shown]
    gain = float((x - x.mean()) @ (y - y.mean())) / max(1.0, float((x - x.mean()) @ (x - x.mean())))
    return np.asarray(one - y.mean() - gain * (other - x.mean()), np.float32)


def _tiles(plane: NDArray[np.float32] | NDArray[np.bool_]) -> NDArray[np.float32] | NDArray[np.bool_]:
    """(96, 96) -> (64, 144)."""
    count = SIDE // TILE
    return plane.reshape(count, TILE, count, TILE).swapaxes(1, 2).reshape(count * count, TILE * TILE)


def _correlate(one: Plane, other: Plane) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / max(1e-6, float(np.sqrt((one @ one) * (other @ other)))))


def _to_pixels(affine: Plane, side: int) -> Plane:
    """Of a side of 1, whose pixels have their centres at halves, to a side of pixels with centres at whole numbers."""
    shift = affine[:, 2] * side + affine[:, :2].sum(axis=1) / 2 - 0.5
    return np.asarray(np.column_stack([affine[:, :2], shift]), np.float32)


def _from_pixels(affine: Plane, side: int) -> Plane:
    shift = (affine[:, 2] + 0.5 - affine[:, :2].sum(axis=1) / 2) / side
    return np.asarray(np.column_stack([affine[:, :2], shift]), np.float32)
