"""Views: random crops, flips and color changes that are drawn once, stored, and replayed exactly.

Visual tokens belong to the pixels they were computed from, so the loader of pretraining draws no
views: it replays those stored beside the tokens. Drawing follows torchvision's RandomResizedCrop
and ColorJitter (VL-BEiT §3.1: "as BEiT").
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipeline.config.limits import Share, ShareRange
from pipeline.data.transforms import images
from pipeline.utils import seeds

ASPECT = (3 / 4, 4 / 3)  # width over height of a crop (BEiT)
TRIES = 10  # attempts at a crop that fits into the image (torchvision)
LUMA = (0.299, 0.587, 0.114)  # luma of an RGB pixel (ITU-R 601, as Pillow)
UNCHANGED = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # `View.matrix` of colors


@dataclass(frozen=True)
class ViewParams:
    """How views of a stream are drawn."""

    crop_scale: ShareRange  # smallest and largest share of the image's area that a crop covers
    flip: Share  # probability of a left-right flip
    color_jitter: Share  # j: brightness, contrast, saturation factors come from [1 - j, 1 + j]


@dataclass(frozen=True)
class View:
    """What `apply` does to a decoded image. Every number is exact in float32, the type in which it
    is stored."""

    box: images.Box
    flip: bool
    matrix: tuple[float, ...]  # 3 x 4, row-major, on RGB in 0..255


def draw(
    seed: int, key: str, index: int, width: int, height: int, mean_luma: float, params: ViewParams
) -> View:
    """View `index` of the image `key`: a pure function of the arguments.

    Args:
        width, height: of the decoded image, pixels.
        mean_luma: its mean luma in 0..255, about which contrast is stretched.
    """
    random = seeds.generator(seed, "view", key, index)
    box = _crop(random, width, height, params)
    flip = bool(random.random() < params.flip)
    return View(box, flip, _color_jitter(random, mean_luma, params.color_jitter))


def apply(image: Image.Image, view: View, size: int) -> np.ndarray:
    """A view of a decoded RGB image, uint8 [size, size, 3].

    Colors change after the resize, which is much cheaper. Both are affine, so the order matters
    only where a value would have been clipped before the resize. `resize(box=...)` lets the filter
    look beyond the edge of the crop, which cropping first would not.
    """
    resized = images.crop_resize(image, view.box, size)
    if view.flip:  # not as an array: a copy of a reversed one takes six times as long
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if view.matrix != UNCHANGED:
        resized = resized.convert("RGB", view.matrix)
    return np.asarray(resized)


def columns(views: Sequence[View]) -> dict[str, list[Any]]:
    """The views of an image as columns of `schema.visual_tokens`."""
    row: dict[str, list[Any]] = {"box": [], "flip": [], "matrix": []}
    for view in views:
        row["box"] += view.box
        row["flip"].append(view.flip)
        row["matrix"] += view.matrix
    return row


class StoredViews:
    """The views in a row of `schema.visual_tokens`, each built on access."""

    def __init__(self, row: Mapping[str, Sequence[Any]]):
        self.row = row

    def __len__(self) -> int:
        return len(self.row["flip"])

    def __getitem__(self, index: int) -> View:
        index = range(len(self))[index]
        left, top, right, bottom = map(float, self.row["box"][4 * index : 4 * index + 4])
        matrix = tuple(map(float, self.row["matrix"][12 * index : 12 * index + 12]))
        return View((left, top, right, bottom), bool(self.row["flip"][index]), matrix)


def _crop(random: np.random.Generator, width: int, height: int, params: ViewParams) -> images.Box:
    """A rectangle of random area and aspect in whole pixels; where no attempt fits, the largest
    central one."""
    for _ in range(TRIES):
        area = width * height * random.uniform(params.crop_scale[0], params.crop_scale[1])
        aspect = math.exp(random.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
            return _box(left, top, w, h)
    w, h = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return _box(left, top, w, h)


def _box(left: int, top: int, width: int, height: int) -> images.Box:
    left32, top32, right32, bottom32 = _float32(left, top, left + width, top + height)
    return left32, top32, right32, bottom32


def _color_jitter(
    random: np.random.Generator, mean_luma: float, amount: float
) -> tuple[float, ...]:
    """Brightness, contrast and saturation in random order, as one matrix.

    One matrix clips once where three operations clip three times, and is twice as fast. Each of the
    three is affine on luma as well, so the mean that contrast needs follows from the operations
    before it.
    """
    if not amount:
        return UNCHANGED
    factors = random.uniform(1 - amount, 1 + amount, size=3)
    total, mean = np.eye(4), mean_luma
    for operation in random.permutation(3):
        factor = factors[operation]
        step = (_brightness(factor), _contrast(factor, mean), _saturation(factor))[operation]
        total = step @ total
        if operation == 0:  # contrast and saturation leave the mean luma as it is
            mean = factor * mean
    return _float32(*total[:3].ravel())


def _brightness(factor: float) -> np.ndarray:
    return np.diag([factor, factor, factor, 1.0])


def _contrast(factor: float, mean: float) -> np.ndarray:
    matrix = _brightness(factor)
    matrix[:3, 3] = (1 - factor) * mean
    return matrix


def _saturation(factor: float) -> np.ndarray:
    matrix = _brightness(factor)
    matrix[:3, :3] += (1 - factor) * np.array(LUMA)
    return matrix


def _float32(*numbers: float) -> tuple[float, ...]:
    return tuple(np.asarray(numbers, np.float32).tolist())
