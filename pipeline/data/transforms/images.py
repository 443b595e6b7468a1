"""Images as the models see them: decoded, resized to a square, uint8 until they are on the
device."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipeline.data.transforms import image_formats

if TYPE_CHECKING:  # data stages read images without paying for the import of torch
    from torch import Tensor

# for the model and for the visual tokenizer (BEiTv2's command line)
INTERPOLATION = Image.Resampling.BICUBIC


Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


def decode(data: bytes) -> Image.Image:
    """The RGB image in encoded bytes of a shard: what sharding has left of an EXIF orientation or of
    transparency is ignored. What comes from elsewhere is for `image_decoding.read`.

    Raises:
        OSError: the bytes are no complete JPEG or PNG; shards hold only complete ones.
    """
    image = _load(data)
    return image if image.mode == "RGB" else image.convert("RGB")  # which copies in any case


def decode_mask(data: bytes) -> np.ndarray:
    """The classes in a shard's segmentation mask, uint8 [height, width]. Raises OSError as
    `decode` does."""
    return np.asarray(_load(data))


def crop_resize(image: Image.Image, box: Box, size: int) -> Image.Image:
    """The rectangle `box` of an image, resized to `size` x `size` pixels."""
    return image.resize((size, size), INTERPOLATION, box=box)


def square(image: Image.Image, size: int) -> np.ndarray:
    """The whole image as an evaluation input, uint8 [size, size, 3]: a plain resize without a crop
    (VLMo)."""
    return np.asarray(image.resize((size, size), INTERPOLATION))


def _load(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data), formats=image_formats.STORED)
    image.load()
    return image


def mean_luma(image: Image.Image) -> float:
    """Mean luma (ITU-R 601) of an RGB image, in 0..255."""
    return float(np.asarray(image.convert("L")).mean())


def normalize(pixels: Tensor) -> Tensor:
    """uint8 [batch, height, width, 3] to float32 [batch, 3, height, width] in [-1, 1], on the
    tensor's own device.

    Mean and standard deviation are 0.5. The visual tokenizer takes the same range (BEiTv2
    `map_pixels`), so one tensor serves both.
    """
    return pixels.permute(0, 3, 1, 2).contiguous().float().div(127.5).sub(1.0)
