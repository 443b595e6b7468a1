"""Scenes: a few colored things on a background, drawn from a seed, with evaluation combinations
held out.

A scene is plain data; pictures (`render`), words (`language`) and later questions and masks are
functions of it.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from pipeline.utils import seeds

SHAPES = (
    "circle",
    "square",
    "triangle",
    "diamond",
    "star",
    "heart",
    "cross",
    "ring",
    "moon",
    "flower",
)
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
TEXTURES = ("plain", "striped", "dotted", "checked")
SIZES = {
    "small": 0.28,
    "medium": 0.37,
    "large": 0.47,
}  # width as a share of the picture's shorter side
BACKGROUNDS = (
    "meadow",
    "beach",
    "desert",
    "snow",
    "night",
    "bricks",
    "sea",
    "wood",
    "sunset",
    "mountains",
)

# What is seen somewhat more often than chance on a background, in pictures and in the encyclopedia
# alike.
FAVORITES = {
    "meadow": "flower",
    "beach": "ring",
    "desert": "triangle",
    "snow": "cross",
    "night": "moon",
    "bricks": "square",
    "sea": "circle",
    "wood": "heart",
    "sunset": "star",
    "mountains": "diamond",
}
_FAVORITE_SHARE = 0.15
_EVALUATION_SHARE = 10  # one combination in ten is kept for evaluation
_NEAREST = (
    0.27  # things closer than this (share of a side, the larger of both axes) overlap on purpose
)
# |dx| and |dy| differ by at least this much, so that `left of` and `above` are never in doubt
_SLANT = 0.08


@dataclass(frozen=True)
class Thing:
    """One thing; x, y: centre as shares (0..1) of width and height; tilt: degrees."""

    shape: str
    color: str
    texture: str
    size: str
    x: float
    y: float
    tilt: float


@dataclass(frozen=True)
class Scene:
    """A background and 1 to 4 things, later ones in front. width, height: pixels; look: seed of the
    background."""

    background: str
    things: tuple[Thing, ...]
    width: int
    height: int
    look: int


def sample(
    seed: int,
    stream: str,
    index: int,
    longest: int,
    *,
    evaluation: bool = False,
    single: tuple[str, str] | None = None,
) -> Scene:
    """Scene number `index` of a stream (such as `coco/train`).

    longest: longest side in pixels; evaluation: take a held-out combination, else never one;
    single: (shape, color) of the thing that dominates the picture, for class folders.
    """
    rng = seeds.generator(seed, "scene", stream, index)
    while True:
        scene = _draw(rng, longest, single)
        if scene is not None and is_evaluation(scene) == evaluation:
            return scene


def combination(scene: Scene) -> str:
    """The multiset of (shape, color, texture, size) and the background; positions do not count."""
    things = sorted(
        f"{thing.shape},{thing.color},{thing.texture},{thing.size}" for thing in scene.things
    )
    return ";".join([scene.background, *things])


def is_evaluation(scene: Scene) -> bool:
    """Whether the scene's combination is kept for validation and test. A pure function of the
    combination."""
    digest = hashlib.blake2b(combination(scene).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % _EVALUATION_SHARE == 0


def relation(scene: Scene, subject: int, other: int) -> str:
    """What `subject` is to `other`: inside, around, front, behind, left, right, above or below."""
    a, b = scene.things[subject], scene.things[other]
    dx, dy = a.x - b.x, a.y - b.y
    distance = max(abs(dx), abs(dy))
    if distance < 0.06:
        return "inside" if subject > other else "around"
    if distance < _NEAREST - 0.01:
        return "front" if subject > other else "behind"
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def position(thing: Thing) -> str:
    """Where in the picture: `top`, `bottom`, ``, then `left`, `right`, `` (both empty:
    `middle`)."""
    row = "top" if thing.y < 0.38 else "bottom" if thing.y > 0.62 else ""
    column = "left" if thing.x < 0.38 else "right" if thing.x > 0.62 else ""
    return f"{row} {column}".strip() or "middle"


def _draw(rng: np.random.Generator, longest: int, single: tuple[str, str] | None) -> Scene | None:
    """One attempt; None where the things do not fit."""
    background = _pick(rng, BACKGROUNDS)
    if single:
        number = 1 if rng.random() < 0.7 else 2
    else:
        number = 1 + int(np.searchsorted((0.03, 0.35, 0.85), rng.random()))
    kinds = [_kind(rng, background) for _ in range(number)]
    if single:
        kinds = [(*single, kinds[0][2], "large"), *((s, c, t, "small") for s, c, t, _ in kinds[1:])]
    overlap = None
    if not single and number > 1 and rng.random() < 0.15:
        overlap = "inside" if rng.random() < 0.5 else "front"
        kinds[0] = (*kinds[0][:2], "plain", "large")
        kinds[1] = (*kinds[1][:3], "small" if overlap == "inside" else "medium")
    if not _distinct(kinds, overlap):
        return None
    places = _places(rng, [SIZES[size] for *_, size in kinds], overlap)
    if places is None:
        return None
    things = tuple(
        Thing(*kind, round(x, 4), round(y, 4), round(float(rng.uniform(-10, 10)), 2))
        for kind, (x, y) in zip(kinds, places, strict=True)
    )
    width, height = _frame(rng, longest)
    return Scene(background, things, width, height, int(rng.integers(2**31)))


def _kind(rng: np.random.Generator, background: str) -> tuple[str, str, str, str]:
    shape = FAVORITES[background] if rng.random() < _FAVORITE_SHARE else _pick(rng, SHAPES)
    texture = "plain" if rng.random() < 0.2 else _pick(rng, TEXTURES)
    return shape, _pick(rng, COLORS), texture, _pick(rng, tuple(SIZES))


def _distinct(kinds: list[tuple[str, str, str, str]], overlap: str | None) -> bool:
    """No two things of one shape and color; of two that overlap the shapes and colors differ, and
    no ring is what holds the other, since its hole would hide what is in front."""
    if overlap and (
        kinds[0][0] in ("ring", "moon", "cross")
        or kinds[0][0] == kinds[1][0]
        or kinds[0][1] == kinds[1][1]
    ):
        return False
    return len({kind[:2] for kind in kinds}) == len(kinds)


def _places(
    rng: np.random.Generator, sizes: list[float], overlap: str | None
) -> list[tuple[float, float]] | None:
    """Centres, apart from one another except where the second overlaps the first; None after too
    many tries."""
    places: list[tuple[float, float]] = []
    for number, size in enumerate(sizes):
        for _ in range(12):
            if number == 1 and overlap:
                place = _beside(rng, places[0], 0.0 if overlap == "inside" else 0.19)
            else:
                x, y = rng.uniform(size / 2 + 0.01, 0.99 - size / 2, 2)
                place = float(x), float(y)
            free = 1 if number == 1 and overlap else 0
            if _inside(place, size) and all(
                _apart(place, size, *other)
                for other in list(zip(places, sizes, strict=False))[free:]
            ):
                places.append(place)
                break
        else:
            return None
    return places


def _beside(
    rng: np.random.Generator, place: tuple[float, float], offset: float
) -> tuple[float, float]:
    dx, dy = rng.choice((-offset, offset)), rng.choice((-offset, offset))
    return float(place[0] + dx), float(place[1] + 0.6 * dy)


def _inside(place: tuple[float, float], size: float) -> bool:
    return all(size / 2 <= value <= 1 - size / 2 for value in place)


def _apart(
    place: tuple[float, float], size: float, other: tuple[float, float], other_size: float
) -> bool:
    dx, dy = abs(place[0] - other[0]), abs(place[1] - other[1])
    return max(dx, dy) >= max(_NEAREST, 0.47 * (size + other_size)) and abs(dx - dy) >= _SLANT


def _frame(rng: np.random.Generator, longest: int) -> tuple[int, int]:
    """Width and height: square, or one side a little shorter."""
    shorter = longest - int(rng.integers(0, longest // 7 + 1))
    return [(longest, longest), (longest, shorter), (shorter, longest)][int(rng.integers(3))]


def _pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]
