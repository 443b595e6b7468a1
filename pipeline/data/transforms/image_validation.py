"""Checks of the images that go into shards: each is decoded once, as a whole."""

from io import BytesIO
from typing import NamedTuple

from PIL import Image

from pipeline.data.transforms import image_formats
from pipeline.data.transforms.image_decoding import (
    BadImage,
    Frame,
    PillowWarnings,
    as_converted,
    as_shown,
    first_frame,
)

_UNCHANGED_MODES = ("RGB", "L")
_QUALITY = 95


class Checked(NamedTuple):
    """Encoded bytes of a JPEG or PNG, upright and RGB or gray unless it is kept as stored, and its
    width and its height in pixels."""

    data: bytes
    width: int
    height: int


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels according to the header, unchecked; None where it has none."""
    with PillowWarnings():
        try:
            return Image.open(BytesIO(data), formats=image_formats.READ).size
        except Exception:  # noqa: BLE001  Pillow's plug-ins raise anything on damaged files
            return None


def check(
    data: bytes, max_side: int, quality: int = _QUALITY, *, as_stored: bool = False
) -> Checked:
    """An image as a shard holds it.

    The bytes come back unchanged where they are this already and no side is longer than `max_side`
    (0: any length), but without metadata that Pillow cannot read; otherwise the first frame is
    turned as its EXIF orientation says, laid on white where it is transparent, reduced and written
    as JPEG of this quality.

    as_stored: neither turned nor laid on white, so that `images.decode` gives what Pillow's
    `convert("RGB")` makes of the file, as the code of other models reads it: JPEGs and PNGs keep
    their bytes, palettes and other formats become PNGs, which lose nothing.

    Raises:
        BadImage: see `first_frame`.
    """
    frame = first_frame(data)
    return _unturned(frame, max_side) if as_stored else _stored(frame, max_side, quality)


def check_with_mask(data: bytes, mask: bytes, *, as_stored: bool = False) -> tuple[Checked, bytes]:
    """An image, at full size, and its segmentation mask: a PNG of mode L, as large as the image.

    A mask belongs to the pixels that its image's file stores, so an image that is turned upright
    takes its mask along; else its bytes come back unchanged. as_stored: as in `check`.

    Raises:
        BadImage: one of them is unusable, or the mask is of another format, of another mode
            (neither a palette nor colors are class indices) or of another size.
    """
    frame = first_frame(data)
    classes = first_frame(mask).image
    if (classes.format, classes.mode) != ("PNG", "L"):
        raise BadImage(f"mask is not a PNG of mode L: {classes.format} of mode {classes.mode}")
    if classes.size != frame.image.size:
        size, expected = (f"{one.width}x{one.height}" for one in (classes, frame.image))
        raise BadImage(f"mask is of another size: {size}, image {expected}")
    if as_stored:
        return _unturned(frame, 0), mask
    if frame.transpose is not None:
        mask = _encode(classes.transpose(frame.transpose), "PNG")
    return _stored(frame, 0, _QUALITY), mask


def _stored(frame: Frame, max_side: int, quality: int) -> Checked:
    image = frame.image
    if (
        image.format in image_formats.STORED
        and image.mode in _UNCHANGED_MODES
        and not image.has_transparency_data
        and frame.transpose is None
        and not 0 < max_side < max(image.size)
    ):
        return Checked(frame.data, *image.size)
    shown = as_shown(frame)
    if max_side:
        shown.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
    return Checked(_encode(shown, "JPEG", quality=quality), *shown.size)


def _unturned(frame: Frame, max_side: int) -> Checked:
    is_long = 0 < max_side < max(frame.image.size)
    if frame.image.format in image_formats.STORED and frame.image.mode != "P" and not is_long:
        return Checked(frame.data, *frame.image.size)
    image = as_converted(frame)
    if is_long:
        image.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
    return Checked(_encode(image, "PNG"), *image.size)


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
