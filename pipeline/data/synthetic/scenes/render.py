"""Rendering of a scene as an image."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from pipeline.data.synthetic.scenes import backgrounds
from pipeline.data.synthetic.scenes.scene import Scene, Thing
from pipeline.data.synthetic.scenes.shapes import contours

_OVERSAMPLING = 4  # things are drawn this much larger and then reduced, which smooths their edges
_SHADOW = 102  # how dark shadows are, 0..255
# RGB of the color itself, and of its stripes, dots and checks: lighter, or darker if that shows
# better.
_PAINT = {
    "red": ((222, 28, 36), (118, 8, 16)),
    "orange": ((255, 136, 10), (160, 66, 0)),
    "yellow": ((255, 226, 26), (168, 132, 0)),
    "green": ((30, 160, 52), (160, 240, 140)),
    "blue": ((32, 84, 224), (150, 200, 255)),
    "purple": ((138, 46, 186), (222, 170, 250)),
    "pink": ((255, 128, 192), (255, 232, 244)),
    "white": ((250, 250, 250), (150, 150, 158)),
    "black": ((26, 26, 30), (150, 150, 156)),
}


def render(scene: Scene) -> Image.Image:
    """The scene as an RGB image of its width and height."""
    pixels = backgrounds.paint(scene.background, scene.width, scene.height, scene.look)
    image = Image.fromarray(pixels.astype(np.uint8))
    for thing in scene.things:
        sprite, mask, corner = draw_thing(thing, scene)
        drop = max(1, scene.width // 40)
        shadow = ImageChops.multiply(mask, Image.new("L", mask.size, _SHADOW))
        image.paste((20, 20, 30), (corner[0] + drop, corner[1] + drop), shadow)
        image.paste(sprite, corner, mask)
    return image


def jpeg(scene: Scene, quality: int) -> bytes:
    """The scene as JPEG bytes; quality: 1..95."""
    return encode(render(scene), quality)


def encode(image: Image.Image, quality: int) -> bytes:
    """Any image as JPEG bytes; quality: 1..95."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def box(thing: Thing, scene: Scene) -> tuple[int, int, int, int]:
    """Left, top, width and height of a thing in pixels."""
    side = round(thing.width * min(scene.width, scene.height))
    return (
        round(thing.x * scene.width - side / 2),
        round(thing.y * scene.height - side / 2),
        side,
        side,
    )


def draw_thing(thing: Thing, scene: Scene) -> tuple[Image.Image, Image.Image, tuple[int, int]]:
    """The thing alone: its RGB sprite, its coverage (mode L, the same size), and where the left top
    corner of both is in the scene's image, in pixels."""
    left, top, side, _ = box(thing, scene)
    large = side * _OVERSAMPLING
    turned = [_rotated(contour, thing.tilt, large) for contour in contours(thing.shape)]
    mask = Image.new("L", (large, large), 0)
    for contour, value in zip(turned, (255, 0), strict=False):
        ImageDraw.Draw(mask).polygon(contour, fill=value)
    sprite = _textured(thing, large)
    for contour in turned:
        ImageDraw.Draw(sprite).line(contour + contour[:4], fill=_edge(thing), width=large // 12)
    return _shaded(sprite.reduce(_OVERSAMPLING)), mask.reduce(_OVERSAMPLING), (left, top)


def _rotated(contour: np.ndarray, tilt: float, side: int) -> list[float]:
    """The contour rotated by `tilt` degrees, on a sprite of `side` pixels, as x, y, x, y, ..."""
    angle = np.deg2rad(tilt)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return ((contour @ turn * 0.48 + 0.5) * side).ravel().tolist()


def _edge(thing: Thing) -> tuple[int, ...]:
    """RGB of the outline: a dark tone of the thing's color; light around black, which would not be
    seen on a night sky."""
    if thing.color == "black":
        return (120, 120, 126)
    return tuple(value * 2 // 5 for value in _PAINT[thing.color][0])


def _textured(thing: Thing, side: int) -> Image.Image:
    """A square of `side` pixels in the color and texture of a thing."""
    first, second = _PAINT[thing.color]
    sprite = Image.new("RGB", (side, side), first)
    draw = ImageDraw.Draw(sprite)
    step = side / (6 if thing.size == "large" else 5)
    for start in np.arange(0, side, step):
        if thing.texture == "striped":
            if round(start / step) % 2:
                draw.rectangle((0, start, side, start + step), fill=second)
        elif thing.texture != "plain":
            _row(draw, thing.texture, start, step, side, second)
    return sprite


def _row(
    draw: ImageDraw.ImageDraw,
    texture: str,
    top: float,
    step: float,
    side: int,
    tone: tuple[int, ...],
) -> None:
    """One row of dots or checks; odd rows are shifted by one cell."""
    for left in np.arange(round(top / step) % 2 * step, side, 2 * step):
        if texture == "checked":
            draw.rectangle((left, top, left + step, top + step), fill=tone)
        else:
            draw.ellipse(
                (left + step * 0.1, top + step * 0.1, left + step * 0.9, top + step * 0.9),
                fill=tone,
            )


def _shaded(sprite: Image.Image) -> Image.Image:
    """The sprite lit from the top left."""
    light = _light(sprite.width)
    pixels = np.asarray(sprite) * (1 + 0.18 * light) + 16 * light
    return Image.fromarray(np.minimum(np.maximum(pixels, 0), 255).astype(np.uint8))


@lru_cache(maxsize=64)
def _light(side: int) -> np.ndarray:
    """The light on a sprite relative to its middle, [side, side, 1] float32 in -1..1."""
    ramp = np.linspace(0.5, -0.5, side, dtype=np.float32)
    return (ramp[:, None] + ramp[None, :])[..., None]
