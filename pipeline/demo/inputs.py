"""What people hand in, checked as sharding checks data sets, and images as the page shows them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.data.records import LONGEST, annotation_text, fault
from pipeline.data.transforms import image_decoding
from pipeline.data.transforms.image_decoding import BadImage
from pipeline.errors import UserError

SIDE = 320  # pixels; smaller images are shown larger
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


def enlarged(source: Image.Image | np.ndarray) -> Image.Image:
    """A small image so large that its pixels are seen; a large one as it is."""
    shown = source if isinstance(source, Image.Image) else Image.fromarray(source)
    factor = max(1, SIDE // max(shown.size))
    size = shown.width * factor, shown.height * factor
    return shown.resize(size, Image.Resampling.NEAREST)


def side_by_side(images: Sequence[bytes]) -> Image.Image:
    """One image of several, equally high."""
    shown = [enlarged(image(data)) for data in images]
    height = min(one.height for one in shown)
    scaled = [one.resize((round(one.width * height / one.height), height)) for one in shown]
    width = sum(one.width for one in scaled) + _GAP * (len(scaled) - 1)
    joined = Image.new("RGB", (width, height), "white")
    left = 0
    for one in scaled:
        joined.paste(one, (left, 0))
        left += one.width + _GAP
    return joined
