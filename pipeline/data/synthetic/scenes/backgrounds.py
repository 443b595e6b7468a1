"""Backgrounds as pixel arrays: gradients and textures that can be recognized at 48 pixels and do
not cover things."""

import numpy as np
from PIL import Image

from pipeline.utils import seeds

# [height, width] or [height, width, 3] RGB 0..255, float32. A side is 1 if all values along it are
# equal, so that gradients are cheap.
Grid = np.ndarray
_Rgb = tuple[int, int, int]


def paint(background: str, width: int, height: int, look: int) -> Grid:
    """The background as RGB [height, width, 3] float32 in 0..255; `look` varies its details."""
    rng = seeds.generator(look, "background")
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    pixels = _PAINTERS[background](x, y, rng) * np.float32(rng.uniform(0.92, 1.06))
    return np.minimum(np.maximum(pixels, 0), 255)


def _shape(x: Grid, y: Grid) -> tuple[int, int]:
    return y.shape[0], x.shape[1]


def _mix(share: Grid, first: _Rgb, second: _Rgb) -> Grid:
    """RGB from `first` (share 0) to `second` (share 1)."""
    share = np.minimum(np.maximum(share, 0), 1)[..., None]
    start, end = _rgb(*first), _rgb(*second)
    return start + share * (end - start)


def _rgb(red: int, green: int, blue: int) -> Grid:
    """A color, [3] float32."""
    return np.array((red, green, blue), dtype=np.float32)


def _clouds(shape: tuple[int, int], rng: np.random.Generator, cells: int) -> Grid:
    """Smooth noise in 0..1 with about `cells` bumps along a side."""
    coarse = rng.random((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def _grain(shape: tuple[int, int], rng: np.random.Generator, strength: float) -> Grid:
    return ((rng.random(shape, dtype=np.float32) - 0.5) * 2 * strength)[..., None]


def _over(below: Grid, above: Grid, mask: Grid) -> Grid:
    """`above` where the mask is set, else `below`."""
    return np.where(mask[..., None], above, below)


def _meadow(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    horizon = rng.uniform(0.22, 0.3) + 0.03 * np.sin(x * 5 + rng.uniform(0, 6))
    sky = _mix(y / 0.3, (150, 200, 240), (215, 235, 250))
    grass = _mix(y, (150, 205, 110), (96, 160, 70)) + _grain(_shape(x, y), rng, 16)
    return _over(grass, sky, y < horizon)


def _beach(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    shore = rng.uniform(0.36, 0.46) + 0.04 * np.sin(x * 7 + rng.uniform(0, 6))
    water = _mix(y / 0.45, (120, 190, 220), (90, 190, 205))
    sand = _mix(y, (248, 232, 190), (228, 204, 150)) + _grain(_shape(x, y), rng, 10)
    scenery = _over(sand, water, y < shore)
    return _over(scenery, _rgb(250, 252, 250), abs(y - shore) < 0.025)


def _desert(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    phase = rng.uniform(0, 6)
    sky = _mix(y / 0.3, (250, 225, 170), (252, 240, 205))
    far = _mix(x, (222, 160, 90), (200, 135, 72))
    near = _mix(
        0.5 + 0.5 * np.sin(26 * y + 5 * np.sin(3 * x + phase)), (214, 150, 84), (190, 122, 62)
    )
    scenery = _over(sky, far, y > 0.26 + 0.07 * np.sin(x * 6 + phase))
    return _over(scenery, near, y > 0.5 + 0.1 * np.sin(x * 4 - phase))


def _snow(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    sky = _mix(y / 0.35, (186, 200, 216), (222, 230, 240))
    ground = _mix(_clouds(_shape(x, y), rng, 5), (214, 226, 242), (250, 252, 255))
    scenery = _over(sky, ground, y > 0.3 + 0.05 * np.sin(x * 5 + rng.uniform(0, 6)))
    return _over(scenery, _rgb(255, 255, 255), rng.random(_shape(x, y), dtype=np.float32) < 0.025)


def _night(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    sky = _mix(y + 0.3 * _clouds(_shape(x, y), rng, 4), (18, 20, 56), (52, 56, 112))
    twinkle = rng.random(_shape(x, y), dtype=np.float32) < 0.018
    return _over(sky, _rgb(235, 235, 200), twinkle)


def _bricks(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    rows = 8
    row = np.floor(y * rows * 0.999)
    along = x * 4 + 0.5 * (row % 2) + rng.uniform(0, 1)
    tone = np.abs(np.sin(np.floor(along) * 12.9 + row * 78.2) * 43.7) % 1
    wall = _mix(tone, (176, 104, 84), (150, 82, 66)) + _grain(_shape(x, y), rng, 6)
    mortar = ((y * rows) % 1 < 0.16) | (along % 1 < 0.07)
    return _over(wall, _rgb(214, 204, 192), mortar)


def _sea(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    phase = rng.uniform(0, 6, 2)
    wave = np.sin(30 * y + 2.2 * np.sin(7 * x + phase[0]) + phase[1])
    water = _mix(y, (70, 160, 190), (22, 96, 140))
    return water + _rgb(30, 34, 30) * (wave > 0.82)[..., None]


def _wood(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    board = np.floor(y * 5 * 0.999)
    rings = np.sin(60 * y + 6 * np.sin(2.5 * x + 9 * board + rng.uniform(0, 6)))
    planks = _mix(0.5 + 0.3 * rings + 0.2 * np.sin(board * 4.1), (206, 164, 112), (180, 134, 84))
    return _over(planks, _rgb(112, 78, 46), (y * 5) % 1 < 0.07)


def _sunset(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    bands = y + 0.1 * _clouds(_shape(x, y), rng, 4)
    sky = _over(
        _mix(bands / 0.5, (96, 74, 136), (226, 120, 120)),
        _mix((bands - 0.5) / 0.35, (226, 120, 120), (252, 202, 120)),
        bands > 0.5,
    )
    hills = _rgb(52, 40, 62)
    return _over(sky, hills, y > 0.86 + 0.05 * np.sin(x * 8 + rng.uniform(0, 6)))


def _mountains(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    shift = rng.uniform(0, 1)
    ridge = 0.22 + 0.34 * np.abs(((x * 1.7 + shift) % 1) * 2 - 1)
    sky = _mix(y / 0.6, (160, 196, 228), (214, 228, 238))
    rock = _mix(_clouds(_shape(x, y), rng, 6), (128, 132, 142), (100, 104, 118))
    scenery = _over(
        _over(sky, rock, y > ridge), _rgb(244, 246, 250), (y > ridge) & (y < ridge + 0.1)
    )
    return _over(
        scenery, _mix(x, (118, 140, 110), (98, 122, 96)) + _grain(_shape(x, y), rng, 7), y > 0.72
    )


_PAINTERS = {
    "meadow": _meadow,
    "beach": _beach,
    "desert": _desert,
    "snow": _snow,
    "night": _night,
    "bricks": _bricks,
    "sea": _sea,
    "wood": _wood,
    "sunset": _sunset,
    "mountains": _mountains,
}
