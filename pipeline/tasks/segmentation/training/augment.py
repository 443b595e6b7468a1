"""Augmentation of an image together with the labels of its pixels (mmsegmentation's, which BEiT
uses for ADE20K)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from PIL import Image

from model.heads.segmentation import IGNORED
from pipeline.config.limits import FactorRange, Interval, Share, ShareAboveZero
from pipeline.tasks.segmentation.training.resize import ResizeFilter, fitted, resized

RETRIES = 10
_FULL_TURN = 256  # of hues in Pillow's HSV


@dataclass(frozen=True)
class PhotometricParams:
    """Largest changes; each is made with probability a half. 0: none."""

    brightness: Annotated[float, Interval(0, 255)]  # added to 0..255, either way
    contrast: Share  # factors 1 - contrast to 1 + contrast
    saturation: Share  # likewise
    hue: Share  # share of the color circle, either way


@dataclass(frozen=True)
class AugmentParams:
    """Block `augment` of a segmentation fine-tune."""

    ratio: FactorRange  # smallest and largest factor on the size to which images are resized
    # a crop is drawn anew while one class has at least this share of its labeled pixels
    one_class: ShareAboveZero
    flip: Share  # probability
    photometric: PhotometricParams


def augmented(
    image: Image.Image,
    labels: np.ndarray,
    size: int,
    base: tuple[int, int],
    resize_filter: ResizeFilter,
    params: AugmentParams,
    filling: tuple[int, ...],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """A training crop.

    Args:
        image: RGB.
        labels: uint8 [height, width] of the image; 255 where a pixel has no class.
        size: side of the crop, pixels.
        base: long and short side that images are resized to before `ratio` applies, see `fitted`.
        resize_filter: of the image; labels are resized to the nearest.
        filling: the color of what the image does not fill, 0 after normalization.

    Returns:
        uint8 [size, size, 3] and uint8 [size, size]; what the image does not fill has no class.
    """
    ratio = rng.uniform(params.ratio[0], params.ratio[1])
    new = fitted(image.size, base, ratio, resize_filter)
    pixels = resized(image, new, resize_filter)
    labels = np.asarray(Image.fromarray(labels).resize(new, Image.Resampling.NEAREST))
    box = crop(labels, size, params.one_class, rng)
    pixels, labels = pixels[box], labels[box]
    if rng.random() < params.flip:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    return _padded(photometric(pixels, params.photometric, rng), size, filling), _padded(
        labels, size, (IGNORED,)
    )


def crop(
    labels: np.ndarray, size: int, one_class: float, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Rows and columns of a random crop, drawn anew up to ten times while it holds little but one
    class."""
    for _ in range(1 + RETRIES):
        top, left = (int(rng.integers(max(side - size, 0) + 1)) for side in labels.shape)
        box = slice(top, top + size), slice(left, left + size)
        counts = np.bincount(labels[box].ravel(), minlength=IGNORED + 1)[:IGNORED]
        if (counts > 0).sum() > 1 and counts.max() < one_class * counts.sum():
            break
    return box


def photometric(
    pixels: np.ndarray, params: PhotometricParams, rng: np.random.Generator
) -> np.ndarray:
    """Brightness, saturation and hue, with contrast before or after the colors; uint8 [height,
    width, 3]."""
    pixels = _linear(pixels, 1.0, _draw(rng, 0.0, params.brightness))
    contrast, before = _draw(rng, 1.0, params.contrast), rng.random() < 0.5
    saturation, hue = _draw(rng, 1.0, params.saturation), _draw(rng, 0.0, params.hue)
    pixels = _linear(pixels, contrast if before else 1.0, 0.0)
    pixels = _with_color(pixels, saturation, hue)
    return _linear(pixels, 1.0 if before else contrast, 0.0)


def _draw(rng: np.random.Generator, middle: float, reach: float) -> float:
    """`middle`, or as often a number within `reach` of it."""
    drawn, applied = rng.uniform(-reach, reach), rng.random() < 0.5
    return middle + (drawn if applied else 0.0)


def _linear(pixels: np.ndarray, factor: float, shift: float) -> np.ndarray:
    if factor == 1.0 and shift == 0.0:
        return pixels
    return np.clip(pixels * np.float32(factor) + np.float32(shift), 0, 255).astype(np.uint8)


def _with_color(pixels: np.ndarray, saturation: float, hue: float) -> np.ndarray:
    if saturation == 1.0 and hue == 0.0:
        return pixels
    hsv = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("HSV")).astype(
        np.float32
    )
    hsv[..., 0] = (hsv[..., 0] + hue * _FULL_TURN) % _FULL_TURN
    hsv[..., 1] = np.minimum(hsv[..., 1] * saturation, 255)
    return np.asarray(Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB"))


def _padded(values: np.ndarray, size: int, filling: tuple[int, ...]) -> np.ndarray:
    """Filled up to the right and below."""
    height, width = values.shape[:2]
    whole = np.empty((size, size, *values.shape[2:]), values.dtype)
    whole[...] = filling
    whole[:height, :width] = values
    return whole
