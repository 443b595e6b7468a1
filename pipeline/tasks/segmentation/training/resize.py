"""Resizing of images before crops and windows are cut out of them: by Pillow's bicubic filter, or as
OpenCV does it, which is what BEiT's released models have seen in mmsegmentation."""

from typing import Literal

import numpy as np
from PIL import Image

from pipeline.data.transforms import images

ResizeFilter = Literal["bicubic", "opencv"]
ONE = 2048  # the weight 1 in OpenCV's integers


def fitted(
    size: tuple[int, int],
    base: tuple[int, int],
    ratio: float,
    resize_filter: ResizeFilter = "bicubic",
    shortest: int = 1,
) -> tuple[int, int]:
    """Width and height, in the same proportion, within `ratio` times the long and the short side of
    `base`, but with no side shorter than `shortest`. Halves are rounded to even numbers, or up, as
    mmsegmentation does."""
    factor = max(ratio * min(base[0] / max(size), base[1] / min(size)), shortest / min(size))
    width, height = size[0] * factor, size[1] * factor
    if resize_filter == "opencv":
        return int(width + 0.5), int(height + 0.5)
    return round(width), round(height)


def resized(image: Image.Image, size: tuple[int, int], resize_filter: ResizeFilter) -> np.ndarray:
    """An RGB image as uint8 [height, width, 3] of the given width and height."""
    if resize_filter == "opencv":
        return bilinear(np.asarray(image), *size)
    return np.array(image.resize(size, images.INTERPOLATION))


def bilinear(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """OpenCV's `INTER_LINEAR` of uint8 [height, width, channels], in its integers: no antialiasing,
    each pixel out of four. It gives the same bytes as OpenCV 4's portable code."""
    left, right, to_left, to_right = _taps(pixels.shape[1], width)
    upper, lower, to_upper, to_lower = _taps(pixels.shape[0], height)
    wide = pixels.astype(np.int32)
    rows = wide[:, left] * to_left[:, None] + wide[:, right] * to_right[:, None]
    rows >>= 4
    above = (rows[upper] * to_upper[:, None, None]) >> 16
    below = (rows[lower] * to_lower[:, None, None]) >> 16
    return ((above + below + 2) >> 2).astype(np.uint8)


def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Along a side: for each new pixel the old ones before and behind it, and their weights, all
    int32 [new]."""
    scale = 1.0 / (new / old)
    position = ((np.arange(new) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position)
    share = position - first  # of the second
    before = first.clip(0, old - 1).astype(np.int32)
    behind = (first + 1).clip(0, old - 1).astype(np.int32)
    weight = np.rint(np.stack([1 - share, share]) * ONE).astype(np.int32)
    return before, behind, weight[0], weight[1]
