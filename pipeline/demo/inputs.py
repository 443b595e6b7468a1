"""What people hand in, checked as sharding checks data sets, and images as the page shows them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.data.records import LONGEST, annotation_text, fault
from pipeline.data.transforms import image_decoding
from pipeline.data.transforms.image_decoding import BadImage
from pipeline.errors import UserError

SIDE = 320  # pixels; smaller images are shown larger
LARGEST = 1000  # pixels; larger images are shown smaller
_GAP = 8  # pixels between two images of a thumbnail


def image(data: bytes | None) -> Image.Image:
    """An image as the models see it before it is resized: RGB, upright, on white. Raises UserError
    where there is none, or shards would not hold it either."""
    if data is None:
        raise UserError("image: there is none; choose an example or upload one")
    try:
        return image_decoding.read(data)
    except BadImage as error:
        raise UserError(f"image: {error}") from None


def text(value: str | None, what: str) -> str:
    """A text as shards would hold it; `what` it is, for messages. Raises UserError where they would
    not."""
    tidy = annotation_text(value or "")
    problem = fault(tidy)
    if problem == "over-long":
        raise UserError(f"{what}: {len(tidy):,} characters, at most {LONGEST:,} are read")
    if problem:
        raise UserError(f"{what}: {problem}")
    return tidy


def shown(source: Image.Image | np.ndarray) -> Image.Image:
    """An image as the page shows it: a small one so large that its pixels are seen, a large one
    reduced."""
    opened = source if isinstance(source, Image.Image) else Image.fromarray(source)
    factor = max(1, SIDE // max(opened.size))
    larger = opened.resize(
        (opened.width * factor, opened.height * factor), Image.Resampling.NEAREST
    )
    larger.thumbnail((LARGEST, LARGEST))
    return larger


def side_by_side(images: Sequence[bytes]) -> Image.Image:
    """A thumbnail of one image or several, equally high."""
    opened = [shown(image(data)) for data in images]
    height = min(SIDE, *(one.height for one in opened))
    scaled = [
        one.resize((max(1, round(one.width * height / one.height)), height)) for one in opened
    ]
    width = sum(one.width for one in scaled) + _GAP * (len(scaled) - 1)
    joined = Image.new("RGB", (width, height), "white")
    left = 0
    for one in scaled:
        joined.paste(one, (left, 0))
        left += one.width + _GAP
    return joined
