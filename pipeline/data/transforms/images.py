"""Pictures as the models see them: decoded, resized to a square, kept as uint8 until they reach the
device."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:  # data stages read pictures without paying for the import of torch
    from torch import Tensor

INTERPOLATION = (
    Image.Resampling.BICUBIC
)  # for the model's and the tokenizer's picture alike (BEiTv2's command line)


def decode(data: bytes) -> Image.Image:
    """The RGB picture in encoded bytes.

    Raises:
        OSError: the bytes are no whole picture. Shards hold none of these.
    """
    image = Image.open(BytesIO(data))
    image.load()
    return (
        image if image.mode == "RGB" else image.convert("RGB")
    )  # where there is nothing to convert it would copy


def crop_resize(image: Image.Image, box: tuple[float, ...], size: int) -> Image.Image:
    """The rectangle `box` (left, top, right, bottom in pixels) of a picture, resized to `size` x
    `size`."""
    return image.resize((size, size), INTERPOLATION, box=box)


def square(image: Image.Image, size: int) -> np.ndarray:
    """The whole picture as an evaluation input, uint8 [size, size, 3]: a plain resize, nothing is
    cut off (VLMo)."""
    return np.asarray(image.resize((size, size), INTERPOLATION))


def mean_grey(image: Image.Image) -> float:
    """Mean luma (ITU-R 601) of an RGB picture, in 0..255."""
    return float(np.asarray(image.convert("L")).mean())


def normalise(pixels: Tensor) -> Tensor:
    """uint8 [batch, height, width, 3] to float32 [batch, 3, height, width] in [-1, 1], on the
    tensor's own device.

    Mean and deviation 0.5. The tokenizer wants exactly this range too (BEiTv2 `map_pixels`), so one
    tensor serves both.
    """
    return pixels.permute(0, 3, 1, 2).contiguous().float().div(127.5).sub(1.0)
