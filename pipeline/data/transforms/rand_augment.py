"""RandAugment as ALBEF, VLMo and BEiT-3 use it for pairs: no operation changes hues, which captions
name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from pipeline.config.limits import Interval, Share

GRAY = (128, 128, 128)  # fills what a geometric operation leaves empty
LEVELS = 10  # the scale of `magnitude`

Operation = Callable[[Image.Image, float, int], Image.Image]  # image, level in 0..1, sign


@dataclass(frozen=True)
class RandAugmentParams:
    """How much augmentation."""

    ops: Annotated[int, Interval(0, 100)]  # operations drawn, with replacement; 0: none
    magnitude: Annotated[float, Interval(0, 10)]  # 0..10
    probability: Share  # that a drawn operation is applied


def rand_augment(
    image: Image.Image, params: RandAugmentParams, rng: np.random.Generator
) -> Image.Image:
    """An RGB image after random operations of fixed magnitude and random direction."""
    for operation in rng.integers(len(OPERATIONS), size=params.ops):
        apply, sign = rng.random() < params.probability, 1 if rng.random() < 0.5 else -1
        if apply:
            image = OPERATIONS[operation](image, params.magnitude / LEVELS, sign)
    return image


def _brightness(image: Image.Image, level: float, _: int) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(0.1 + 1.8 * level)


def _sharpness(image: Image.Image, level: float, _: int) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(0.1 + 1.8 * level)


def _shear_x(image: Image.Image, level: float, sign: int) -> Image.Image:
    return _affine(image, (1, sign * 0.3 * level, 0, 0, 1, 0))


def _shear_y(image: Image.Image, level: float, sign: int) -> Image.Image:
    return _affine(image, (1, 0, 0, sign * 0.3 * level, 1, 0))


def _translate_x(image: Image.Image, level: float, sign: int) -> Image.Image:
    return _affine(image, (1, 0, sign * 10 * level, 0, 1, 0))


def _translate_y(image: Image.Image, level: float, sign: int) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, sign * 10 * level))


def _rotate(image: Image.Image, level: float, sign: int) -> Image.Image:
    return image.rotate(sign * 30 * level, Image.Resampling.BILINEAR, fillcolor=GRAY)


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=GRAY
    )


OPERATIONS: tuple[Operation, ...] = (
    lambda image, level, sign: image,
    lambda image, level, sign: ImageOps.autocontrast(image),
    lambda image, level, sign: ImageOps.equalize(image),
    _brightness,
    _sharpness,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
    _rotate,
)
