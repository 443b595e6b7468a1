"""Scenes: a few colored things on a background, drawn from a seed. One combination of attributes
in ten occurs in validation and test parts only.

A scene is plain data; its image (`render`), masks (`masks`) and texts (`language`) are functions of
it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.data.synthetic.world import World
from pipeline.errors import UserError
from pipeline.utils import seeds

_FAVORITE_SHARE = 0.15
_EVALUATION_EVERY = 10  # one combination in ten is for validation and test
# Things closer than this (share of a side, the larger of both axes) overlap on purpose.
_NEAREST = 0.27
# |dx| and |dy| differ by at least this much, so that `left of` and `above` are never in doubt
_SLANT = 0.08
_POSITION_TRIES = 12  # for one thing
_SCENE_TRIES = 5_000  # a few dozen are usual

_Point = tuple[float, float]  # x, y as shares of width and height


@dataclass(frozen=True)
class Thing:
    """One thing; x, y: center as shares (0..1) of width and height; tilt: degrees; width: share of
    the image's shorter side, which its size names."""

    shape: str
    color: str
    texture: str
    size: str
    x: float
    y: float
    tilt: float
    width: float


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
    world: World,
    *,
    evaluation: bool = False,
    single: tuple[str, str] | None = None,
) -> Scene:
    """Scene number `index` of a stream (such as `coco/train`).

    longest: longest side in pixels; evaluation: whether its combination is one for validation and
    test (it never is otherwise); single: (shape, color) of the thing that dominates the image, for
    image classes.

    Raises:
        UserError: next to nothing fits in the world's images.
    """
    rng = seeds.generator(seed, "scene", stream, index)
    for _ in range(_SCENE_TRIES):
        scene = _draw(rng, longest, world, single)
        if scene is not None and is_evaluation(scene) == evaluation:
            return scene
    raise UserError(
        f"params.yaml: synthetic.world: no scene in {_SCENE_TRIES:,} tries; smaller `sizes`, fewer "
        "`things` or more attributes are needed"
    )


def combination(scene: Scene) -> str:
    """The multiset of (shape, color, texture, size) and the background; positions do not count."""
    things = sorted(
        f"{thing.shape},{thing.color},{thing.texture},{thing.size}" for thing in scene.things
    )
    return ";".join([scene.background, *things])


def is_evaluation(scene: Scene) -> bool:
    """Whether the scene's combination is for validation and test: a hash of the combination
    decides."""
    digest = hashlib.blake2b(combination(scene).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % _EVALUATION_EVERY == 0


def relation(scene: Scene, subject: int, other: int) -> str:
    """The relation of thing `subject` to thing `other` (indices): inside, around, front, behind,
    left, right, above or below."""
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
    """The position in the image: `top`, `bottom` or nothing, then `left`, `right` or nothing;
    `middle` if both are nothing."""
    row = "top" if thing.y < 0.38 else "bottom" if thing.y > 0.62 else ""
    column = "left" if thing.x < 0.38 else "right" if thing.x > 0.62 else ""
    return f"{row} {column}".strip() or "middle"


class _Attributes(NamedTuple):
    """A thing but for its position."""

    shape: str
    color: str
    texture: str
    size: str


def _draw(
    rng: np.random.Generator, longest: int, world: World, single: tuple[str, str] | None
) -> Scene | None:
    """One attempt; None where the things do not fit."""
    background = _pick(rng, world.backgrounds)
    if single:
        number = 1 if rng.random() < 0.7 else 2
    else:
        number = 1 + int(np.searchsorted(np.cumsum(world.things[:-1]), rng.random()))
    attributes = [_draw_attributes(rng, background, world) for _ in range(number)]
    overlap = None
    if single:
        attributes = _dominated(attributes, single, world)
    elif number > 1 and rng.random() < world.overlaps:
        overlap = "inside" if rng.random() < 0.5 else "front"
        attributes[0] = attributes[0]._replace(texture="plain", size=world.largest)
        size = world.smallest if overlap == "inside" else world.middle
        attributes[1] = attributes[1]._replace(size=size)
    if not _distinct(attributes, overlap):
        return None
    widths = [world.sizes[thing.size] for thing in attributes]
    centers = _draw_centers(rng, widths, overlap)
    if centers is None:
        return None
    things = []
    for thing, (x, y), width in zip(attributes, centers, widths, strict=True):
        tilt = round(float(rng.uniform(-10, 10)), 2)
        things.append(Thing(*thing, round(x, 4), round(y, 4), tilt, width))
    return Scene(background, tuple(things), *_draw_size(rng, longest), int(rng.integers(2**31)))


def _draw_attributes(rng: np.random.Generator, background: str, world: World) -> _Attributes:
    if rng.random() < _FAVORITE_SHARE:
        shape = world.favorite(background)
    else:
        shape = _pick(rng, world.shapes)
    texture = "plain" if rng.random() < 0.2 else _pick(rng, world.textures)
    return _Attributes(shape, _pick(rng, world.colors), texture, _pick(rng, list(world.sizes)))


def _dominated(
    attributes: list[_Attributes], single: tuple[str, str], world: World
) -> list[_Attributes]:
    """The first thing large, with this shape and color, and the others small."""
    shape, color = single
    first, *others = attributes
    first = first._replace(shape=shape, color=color, size=world.largest)
    return [first, *(thing._replace(size=world.smallest) for thing in others)]


def _distinct(attributes: list[_Attributes], overlap: str | None) -> bool:
    """Whether no two things have the same shape and color. Of two that overlap, shapes and colors
    must both differ, and the one behind is no ring, moon or cross: seen through its hole or beside
    it, the one in front would not overlap it."""
    if overlap:
        behind, front = attributes[:2]
        if behind.shape in ("ring", "moon", "cross"):
            return False
        if behind.shape == front.shape or behind.color == front.color:
            return False
    return len({thing[:2] for thing in attributes}) == len(attributes)


def _draw_centers(
    rng: np.random.Generator, sizes: list[float], overlap: str | None
) -> list[_Point] | None:
    """Centers of things of these sizes, apart from one another, except where the second overlaps
    the first; None after too many tries."""
    centers: list[_Point] = []
    for number, size in enumerate(sizes):
        overlaps = number == 1 and overlap is not None
        for _ in range(_POSITION_TRIES):
            if overlaps:
                center = _draw_beside(rng, centers[0], 0.0 if overlap == "inside" else 0.19)
            else:
                x, y = rng.uniform(size / 2 + 0.01, 0.99 - size / 2, 2)
                center = float(x), float(y)
            others = [] if overlaps else list(zip(centers, sizes, strict=False))
            if _inside(center, size) and all(_apart(center, size, *other) for other in others):
                centers.append(center)
                break
        else:
            return None
    return centers


def _draw_beside(rng: np.random.Generator, center: _Point, offset: float) -> _Point:
    """A point `offset` to the left or right and 0.6 * `offset` above or below."""
    dx, dy = rng.choice((-offset, offset)), rng.choice((-offset, offset))
    return float(center[0] + dx), float(center[1] + 0.6 * dy)


def _inside(center: _Point, size: float) -> bool:
    return all(size / 2 <= value <= 1 - size / 2 for value in center)


def _apart(center: _Point, size: float, other: _Point, other_size: float) -> bool:
    dx, dy = abs(center[0] - other[0]), abs(center[1] - other[1])
    return max(dx, dy) >= max(_NEAREST, 0.47 * (size + other_size)) and abs(dx - dy) >= _SLANT


def _draw_size(rng: np.random.Generator, longest: int) -> tuple[int, int]:
    """Width and height in pixels: a square, or one side a little shorter."""
    shorter = longest - int(rng.integers(0, longest // 7 + 1))
    return [(longest, longest), (longest, shorter), (shorter, longest)][int(rng.integers(3))]


def _pick(rng: np.random.Generator, values: Sequence[str]) -> str:
    return values[int(rng.integers(len(values)))]
