"""A bad photograph of one apple or orange: background, clutter, light, camera. For the sample set, before LINE B."""

from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from ripen.sample_fruit import Canvas, Light, Place, paint_apple, paint_ball, paint_orange


class Fruit(StrEnum):
    """The two classes of the sample set."""

    APPLE = "apple"
    ORANGE = "orange"


def draw_photograph(fruit: Fruit, random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one picture of 160 to 224 pixels a side: (H, W, 3) uint8 RGB."""
    height, width = (int(side) for side in random.integers(160, 225, 2))
    light = _light(random)
    canvas = _background(height, width, random) * light.colour
    radius = min(height, width) * random.uniform(0.30, 0.42)
    place = Place(
        width / 2 + random.uniform(-0.5, 0.5) * (width - 1.8 * radius),
        height / 2 + random.uniform(-0.5, 0.5) * (height - 1.8 * radius),
        radius,
        random.normal(0, 0.35),
    )
    for _ in range(random.integers(0, 3)):
        _paint_clutter(canvas, light, random)
    for _ in range(random.integers(0, 3)):
        _paint_decoy(canvas, place, light, random)
    _paint_shadow(canvas, place, light)
    (paint_apple if fruit is Fruit.APPLE else paint_orange)(canvas, place, light, random)
    return _photographed(canvas, random)


def _light(random: np.random.Generator) -> Light:
    direction = np.array([random.uniform(-0.8, 0.8), random.uniform(-0.9, 0.2), random.uniform(0.5, 1.0)], np.float32)
    warmth = random.normal(0, 0.13)
    colour = np.array([1 + warmth, 1 + random.normal(0, 0.05), 1 - warmth], np.float32) * random.uniform(0.75, 1.15)
    return Light(direction / np.linalg.norm(direction), random.uniform(0.25, 0.6), colour.astype(np.float32))


def _background(height: int, width: int, random: np.random.Generator) -> Canvas:
    """A wall and a table, planks, a checked cloth, or grass: (height, width, 3)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    first, second = _dull_colours(2, random)
    turn, period = random.uniform(0, np.pi), random.uniform(30, 60)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    kind = random.integers(4)
    if kind == 0:
        share = (y > height * random.uniform(0.3, 0.7)).astype(np.float32)
    elif kind == 1:
        share = 0.3 * ((across // period) % 2) + 0.2 * np.sin(along / period + across / 12)
    elif kind == 2:
        share = 0.5 * ((along // period + across // period) % 2)
    else:
        share = 0.4 * cv2.resize(random.random((5, 5), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    shade = 1 + 0.25 * (along / width - 0.5)
    canvas = (first * (1 - share[..., None]) + second * share[..., None]) * shade[..., None]
    return np.asarray(canvas, np.float32)


def _dull_colours(count: int, random: np.random.Generator) -> Canvas:
    """Colours as walls, cloth and boxes have them, mostly greyish: (count, 3)."""
    grey = random.uniform(0.15, 0.9, (count, 1))
    tint = random.uniform(-0.35, 0.35, (count, 3)) * random.uniform(0.2, 1.0, (count, 1))
    return np.clip(grey + tint, 0.03, 1).astype(np.float32)


def _paint_clutter(canvas: Canvas, light: Light, random: np.random.Generator) -> None:
    """A box, a bottle, a pencil: a turned rectangle of any colour."""
    height, width = canvas.shape[:2]
    centre = (float(random.uniform(0, width)), float(random.uniform(0, height)))
    size = (float(random.uniform(0.04, 0.3) * width), float(random.uniform(0.2, 0.7) * height))
    corners = cv2.boxPoints((centre, size, float(random.uniform(0, 180))))
    colour = _dull_colours(1, random)[0] * light.colour
    cv2.fillConvexPoly(canvas, np.round(corners).astype(np.int32), tuple(map(float, colour)), cv2.LINE_AA)


def _paint_decoy(canvas: Canvas, fruit: Place, light: Light, random: np.random.Generator) -> None:
    """A ball or disc beside the fruit, partly behind it."""
    angle, away = random.uniform(0, 2 * np.pi), random.uniform(1.2, 2.4) * fruit.radius
    radius = fruit.radius * random.uniform(0.35, 0.75)
    place = Place(fruit.x + away * np.cos(angle), fruit.y + away * np.sin(angle), radius, random.uniform(0, 6))
    _paint_shadow(canvas, place, light)
    paint_ball(canvas, place, light, random)


def _paint_shadow(canvas: Canvas, place: Place, light: Light) -> None:
    """Darken where the body stands, away from the light."""
    shadow = np.zeros(canvas.shape[:2], np.float32)
    centre = (
        round(place.x - 0.3 * place.radius * float(light.direction[0])),
        round(place.y + 0.75 * place.radius),
    )
    cv2.ellipse(shadow, centre, (round(place.radius), round(0.4 * place.radius)), 0, 0, 360, 1.0, -1)
    canvas *= (1 - 0.55 * cv2.blur(shadow, (15, 15)))[..., None]


def _photographed(canvas: Canvas, random: np.random.Generator) -> NDArray[np.uint8]:
    """What a poor camera makes of the scene: blur, shake, white balance, exposure, noise."""
    blurred = cv2.GaussianBlur(canvas, (0, 0), random.uniform(0.3, 1.1))
    if random.random() < 0.2:
        length = int(random.integers(3, 6))
        shake = np.eye(length, dtype=np.float32) if random.random() < 0.5 else np.ones((1, length), np.float32)
        blurred = cv2.filter2D(blurred, -1, shake / shake.sum())
    balance = np.exp(random.normal(0, 0.11, 3)) * random.uniform(0.75, 1.25)
    exposed = np.clip(blurred * balance.astype(np.float32), 0, 1) ** np.float32(random.uniform(0.7, 1.3))
    noise = random.standard_normal(canvas.shape, np.float32) * np.float32(random.uniform(0.005, 0.025))
    return np.asarray(np.clip((exposed + noise) * 255 + 0.5, 0, 255), np.uint8)
