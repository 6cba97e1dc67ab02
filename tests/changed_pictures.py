"""A picture as it comes a second time: resized, re-encoded, mirrored, cropped, brighter."""

from collections.abc import Callable

import cv2
import numpy as np

from contract.images import ImageLimits, Pixels, decode

LIMITS = ImageLimits()
Change = Callable[[Pixels, np.random.Generator], Pixels]


def encoded(image: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return decode(data.tobytes(), LIMITS)


def cropped(image: Pixels, random: np.random.Generator, least: float = 0.8, most: float = 1.0) -> Pixels:
    height, width = (round(side * random.uniform(least, most)) for side in image.shape[:2])
    row = int(random.integers(0, image.shape[0] - height + 1))
    column = int(random.integers(0, image.shape[1] - width + 1))
    return np.ascontiguousarray(image[row : row + height, column : column + width])


def halved(image: Pixels, share: float = 0.5) -> Pixels:
    return np.asarray(cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)


def mirrored(image: Pixels) -> Pixels:
    return np.ascontiguousarray(image[:, ::-1])


def brighter(image: Pixels, random: np.random.Generator) -> Pixels:
    return np.clip(image * random.uniform(0.85, 1.15) + random.uniform(-12, 12), 0, 255).astype(np.uint8)


def everything(image: Pixels, random: np.random.Generator) -> Pixels:
    image = cropped(image, random)
    image = mirrored(image) if random.random() < 0.5 else image
    return brighter(encoded(halved(image, random.uniform(0.5, 1)), int(random.integers(30, 90))), random)


CHANGES: dict[str, Change] = {
    "resized": lambda image, random: halved(image),
    "JPEG 30-90": lambda image, random: encoded(image, int(random.integers(30, 90))),
    "mirrored": lambda image, random: mirrored(image),
    "cropped to 95 %": lambda image, random: cropped(image, random, 0.95, 0.95),
    "cropped to 90 %": lambda image, random: cropped(image, random, 0.9, 0.9),
    "cropped to 80 %": lambda image, random: cropped(image, random, 0.8, 0.8),
    "cropped to 80-100 %": cropped,
    "brighter or darker": brighter,
    "all of it": everything,
}
