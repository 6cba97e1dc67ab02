"""Apples, oranges and round decoys, drawn as lit bodies onto a photograph. For the sample set, before LINE B.

Colours overlap on purpose; what tells the two apart is form and skin. An apple has shoulders, a stem in a hollow,
streaks that run to it and a sharp gloss. An orange is round, dimpled, with a small calyx and a dull gloss. A decoy has
none of it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.float32]  # (H, W, 3) RGB; 0 is black, 1 is white
Field = NDArray[np.float32]  # (H, W)
Colour = NDArray[np.float32]  # (3,)

APPLE_COLOURS = (
    (0.78, 0.10, 0.10),
    (0.70, 0.08, 0.10),
    (0.55, 0.05, 0.09),
    (0.45, 0.66, 0.16),
    (0.88, 0.74, 0.22),
    (0.90, 0.45, 0.15),
)
ORANGE_COLOURS = (
    (0.95, 0.52, 0.08),
    (0.96, 0.58, 0.12),
    (0.94, 0.48, 0.10),
    (0.96, 0.66, 0.14),
    (0.86, 0.30, 0.10),
    (0.58, 0.62, 0.16),
    (0.80, 0.20, 0.12),
)
STEM = np.array((0.28, 0.18, 0.08), np.float32)
CALYX = np.array((0.30, 0.33, 0.12), np.float32)
LEAF = np.array((0.18, 0.42, 0.12), np.float32)
RIND = np.array((0.60, 0.15, 0.10), np.float32)
FLESH = np.array((0.95, 0.90, 0.70), np.float32)
REACH = 1.5  # half the side of the square that a body is drawn in, in radii: room for stem and leaf


@dataclass(frozen=True)
class Light:
    """Where the light comes from ((3,), towards the camera is +z), how much of it is everywhere, and its colour."""

    direction: NDArray[np.float32]
    ambient: float
    colour: Colour


@dataclass(frozen=True)
class Place:
    """Centre and radius of a body in pixels, and its turn in radians."""

    x: float
    y: float
    radius: float
    turn: float


@dataclass(frozen=True)
class Body:
    """What is to be lit: outline in radii, skin colour, bumps and gloss over the body's own coordinates `u`, `v`."""

    u: Field
    v: Field
    outline: Field
    skin: Canvas
    bumps: Field
    gloss: float
    gloss_sharpness: float


def paint_apple(canvas: Canvas, place: Place, light: Light, random: np.random.Generator) -> None:
    """Draw one apple, now and then cut open."""
    u, v = _coordinates(place)
    if random.random() < 0.06:
        _blend(canvas, place, *_cut_apple(u, v, place, light))
        return
    tip = random.uniform(-0.80, -0.62)  # where the stem leaves the body
    body = Body(u, v, _apple_outline(u, v, random), _apple_skin(u, v, tip, random), np.zeros_like(u), 0.55, 36.0)
    colour, cover = _lit(body, place, light)
    hollow = np.exp(-((u / 0.34) ** 2 + ((v - tip) / 0.15) ** 2))
    colour *= (1 - 0.75 * hollow)[..., None]
    _blend(canvas, place, colour, cover)
    _paint_stem(canvas, place, light, tip, random)


def paint_orange(canvas: Canvas, place: Place, light: Light, random: np.random.Generator) -> None:
    """Draw one orange, now and then cut open."""
    u, v = _coordinates(place)
    albedo = _pick_colour(ORANGE_COLOURS, random)
    if random.random() < 0.10:
        _blend(canvas, place, *_cut_orange(u, v, place, albedo, random))
        return
    outline = (1 + random.uniform(-0.04, 0.02) * np.cos(2 * np.arctan2(u, -v))).astype(np.float32)
    patches = 1 + 0.10 * _noise(u.shape, place.radius * 0.4, random)
    bumps = _peel(u.shape, place.radius, random)
    skin = albedo * (patches * (1 + 0.36 * bumps))[..., None]
    if random.random() < 0.75:
        skin = _with_calyx(skin, u, v, random)
    _blend(canvas, place, *_lit(Body(u, v, outline, skin, bumps, 0.30, 9.0), place, light))


def paint_ball(canvas: Canvas, place: Place, light: Light, random: np.random.Generator) -> None:
    """Draw one decoy: a smooth ball in a fruit's colour, some with a stripe, some flat discs."""
    u, v = _coordinates(place)
    skin = np.broadcast_to(_pick_colour(APPLE_COLOURS + ORANGE_COLOURS, random), (*u.shape, 3)).astype(np.float32)
    if random.random() < 0.3:
        stripe = np.abs(v - random.uniform(-0.4, 0.4)) < random.uniform(0.1, 0.3)
        skin = np.where(stripe[..., None], random.random(3, np.float32), skin)
    body = Body(u, v, np.ones_like(u), skin, np.zeros_like(u), random.uniform(0, 0.5), random.uniform(8, 40))
    colour, cover = _lit(body, place, light)
    _blend(canvas, place, skin * light.colour * 0.8 if random.random() < 0.3 else colour, cover)


def _coordinates(place: Place) -> tuple[Field, Field]:
    """The body's own axes over its square: `u` to its right, `v` down, 1 is one radius."""
    half = int(np.ceil(place.radius * REACH))
    steps = np.arange(-half, half + 1, dtype=np.float32) / np.float32(place.radius)
    x, y = np.meshgrid(steps, steps)
    cosine, sine = np.float32(np.cos(place.turn)), np.float32(np.sin(place.turn))
    return x * cosine + y * sine, y * cosine - x * sine


def _apple_outline(u: Field, v: Field, random: np.random.Generator) -> Field:
    """Radius by the angle from the top: hollow, shoulders, a narrower foot with a small notch."""
    angle = np.arctan2(u, -v)
    away = np.abs(angle)
    outline = (
        1.0 + 0.10 * np.exp(-(((away - 0.70) / 0.42) ** 2)) - random.uniform(0.22, 0.36) * np.exp(-((away / 0.30) ** 2))
    )
    outline -= random.uniform(0.04, 0.14) * (away / np.pi) ** 2 + 0.09 * np.exp(-(((away - np.pi) / 0.30) ** 2))
    return np.asarray(outline + random.uniform(-0.03, 0.03) * np.sin(angle), np.float32)


def _apple_skin(u: Field, v: Field, tip: float, random: np.random.Generator) -> Canvas:
    """Two colours in streaks that run to the stem, and small pale dots."""
    first = _pick_colour(APPLE_COLOURS, random)
    second = _pick_colour(APPLE_COLOURS, random) if random.random() < 0.5 else first * random.uniform(0.55, 0.8)
    around = np.arctan2(u, v - tip)
    streaks = (_periodic(around, 110, random) * 0.5 + _periodic(around, 9, random) * 0.3) * random.uniform(0.3, 1.0)
    blush = u * random.uniform(-0.5, 0.5) + v * random.uniform(-0.5, 0.5)
    share = np.clip(0.45 + 0.45 * streaks + 0.5 * blush, 0, 1)[..., None]
    skin = first * (1 - share) + second * share
    dots = (random.random(u.shape, np.float32) > 0.992).astype(np.float32)
    return np.asarray(skin + 0.5 * cv2.GaussianBlur(dots, (0, 0), 0.8)[..., None], np.float32)


def _with_calyx(skin: Canvas, u: Field, v: Field, random: np.random.Generator) -> Canvas:
    """Add the small green-brown star that a fallen stem leaves, somewhere on the visible side."""
    away, angle = random.uniform(0.1, 0.7), random.uniform(0, 2 * np.pi)
    du, dv = u - away * np.cos(angle), v - away * np.sin(angle)
    star = 0.13 * (1 + 0.40 * np.cos(5 * np.arctan2(du, dv) + random.uniform(0, 6)))
    distance = np.hypot(du, dv)
    inside = np.clip((star - distance) * 25, 0, 1)[..., None]
    halo = np.exp(-((distance / 0.24) ** 2))[..., None]
    return np.asarray((skin * (1 - 0.25 * halo)) * (1 - inside) + CALYX * inside, np.float32)


def _cut_orange(u: Field, v: Field, place: Place, albedo: Colour, random: np.random.Generator) -> tuple[Canvas, Field]:
    """A half from its cut side: rim, white pith, segments."""
    distance, segments = np.hypot(u, v), int(random.integers(9, 12))
    spokes = np.abs(np.sin(np.arctan2(u, v) * segments / 2)) * distance
    pulp = albedo * (0.85 + 0.20 * _noise(u.shape, 1.2, random))[..., None]
    white = (distance > 0.86) | (spokes < 0.05) | (distance < 0.08)
    colour = np.where(white[..., None], FLESH, pulp)
    return np.asarray(np.where((distance > 0.94)[..., None], albedo, colour), np.float32), _cover(distance, place)


def _cut_apple(u: Field, v: Field, place: Place, light: Light) -> tuple[Canvas, Field]:
    """A half from its cut side: rim, pale flesh, core with pips."""
    away = np.arctan2(np.abs(u), -v)
    distance = np.hypot(u, v) / (1.0 + 0.1 * np.exp(-(((away - 0.7) / 0.42) ** 2)) - 0.3 * np.exp(-((away / 0.3) ** 2)))
    core = np.hypot(u / 0.30, v / 0.42)
    pips = np.minimum(np.hypot((u - 0.12) / 0.06, v / 0.13), np.hypot((u + 0.12) / 0.06, v / 0.13))
    colour = np.where((np.abs(core - 1) < 0.10)[..., None], FLESH * np.float32(0.82), FLESH)
    colour = np.where((pips < 1)[..., None], STEM, colour)
    colour = np.where((distance > 0.94)[..., None], RIND, colour) * light.colour
    return np.asarray(colour, np.float32), _cover(distance, place)


def _lit(body: Body, place: Place, light: Light) -> tuple[Canvas, Field]:
    """Shade a body as a sphere under its outline: (colour, cover)."""
    distance = np.hypot(body.u, body.v) / body.outline
    nx = np.clip(body.u / body.outline, -1, 1) - cv2.Sobel(body.bumps, cv2.CV_32F, 1, 0) * 0.30
    ny = np.clip(body.v / body.outline, -1, 1) - cv2.Sobel(body.bumps, cv2.CV_32F, 0, 1) * 0.30
    nz = np.sqrt(np.clip(1 - distance**2, 0.01, 1))
    cosine, sine = np.float32(np.cos(place.turn)), np.float32(np.sin(place.turn))
    lx, ly, lz = light.direction
    lx, ly = lx * cosine + ly * sine, ly * cosine - lx * sine
    length = np.sqrt(nx**2 + ny**2 + nz**2)
    facing = np.clip((nx * lx + ny * ly + nz * lz) / length, 0, 1)
    mirrored = np.clip(2 * facing * nz / length - lz, 0, 1) ** body.gloss_sharpness * body.gloss
    colour = body.skin * (light.ambient + (1 - light.ambient) * facing)[..., None] * light.colour
    return np.asarray(colour + mirrored[..., None], np.float32), _cover(distance, place)


def _paint_stem(canvas: Canvas, place: Place, light: Light, tip: float, random: np.random.Generator) -> None:
    """Draw the stem, and for some apples a leaf, over the finished body."""
    height, lean = random.uniform(0.32, 0.55), random.uniform(-0.25, 0.25)
    along = np.linspace(0, 1, 8)
    line = np.stack([lean * along**2, tip + 0.08 - height * along], axis=1)
    thickness = max(1, round(place.radius * random.uniform(0.07, 0.11)))
    cv2.polylines(canvas, [_to_canvas(line, place)], False, _triple(STEM * light.colour), thickness, cv2.LINE_AA, 3)
    if random.random() < 0.45:
        side, length = random.choice([-1.0, 1.0]), random.uniform(0.4, 0.7)
        edge = np.concatenate([np.sin(along * np.pi), -np.sin(along[::-1] * np.pi)]) * length * 0.22
        axis = np.concatenate([along, along[::-1]]) * length
        leaf = np.stack([side * axis, tip - 0.2 - axis * random.uniform(0.1, 0.6) + edge], axis=1)
        cv2.fillPoly(canvas, [_to_canvas(leaf, place)], _triple(LEAF * light.colour), cv2.LINE_AA, 3)


def _to_canvas(points: NDArray[np.float64], place: Place) -> NDArray[np.int32]:
    """Body coordinates (N, 2) to pixels with three fractional bits, as OpenCV's drawing wants them."""
    cosine, sine = np.cos(place.turn), np.sin(place.turn)
    x = place.x + place.radius * (points[:, 0] * cosine - points[:, 1] * sine)
    y = place.y + place.radius * (points[:, 0] * sine + points[:, 1] * cosine)
    return np.round(np.stack([x, y], axis=1) * 8).astype(np.int32)


def _triple(colour: Colour) -> tuple[float, float, float]:
    return float(colour[0]), float(colour[1]), float(colour[2])


def _cover(distance: NDArray[np.floating], place: Place) -> Field:
    """How much of each pixel the body covers, in [0, 1]."""
    return np.asarray(np.clip((1 - distance) * place.radius + 0.5, 0, 1), np.float32)


def _blend(canvas: Canvas, place: Place, colour: Canvas, cover: Field) -> None:
    """Lay a square of colour over the canvas, cut off at its edges."""
    half = cover.shape[0] // 2
    left, top = round(place.x) - half, round(place.y) - half
    height, width = canvas.shape[:2]
    rows = slice(*np.clip((top, top + cover.shape[0]), 0, height))
    columns = slice(*np.clip((left, left + cover.shape[1]), 0, width))
    own = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    share = cover[own][..., None]
    canvas[rows, columns] = canvas[rows, columns] * (1 - share) + colour[own] * share


def _pick_colour(colours: tuple[tuple[float, float, float], ...], random: np.random.Generator) -> Colour:
    colour = np.array(colours[random.integers(len(colours))], np.float32) * random.normal(1, 0.12, 3)
    return np.clip(colour, 0, 1).astype(np.float32)


def _noise(shape: tuple[int, ...], scale: float, random: np.random.Generator) -> Field:
    """Smooth noise of standard deviation 1 with spots of about `scale` pixels."""
    small = random.standard_normal([max(2, int(side / scale)) for side in shape], np.float32)
    smooth = cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((smooth - smooth.mean()) / (smooth.std() + 1e-6), np.float32)


def _periodic(angle: Field, spots: int, random: np.random.Generator) -> Field:
    """Noise over an angle in radians that closes at the full turn."""
    values = random.standard_normal(spots)
    places = np.linspace(-np.pi, np.pi, spots + 1)
    return np.asarray(np.interp(angle, places, [*values, values[0]]), np.float32)


def _peel(shape: tuple[int, ...], radius: float, random: np.random.Generator) -> Field:
    """Orange peel: dimples about a fifteenth of the radius apart, in [-1, 1]."""
    spots = random.standard_normal(shape, np.float32)
    size = radius * random.uniform(0.036, 0.046)
    bumps = cv2.GaussianBlur(spots, (0, 0), size) - cv2.GaussianBlur(spots, (0, 0), size * 1.8)
    return np.asarray(np.clip(bumps / (2 * bumps.std()), -1, 1), np.float32)
