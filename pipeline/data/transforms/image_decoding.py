"""The one way from bytes that nobody has checked to an image: for shards, for saved models in use
and for served ones. What shards hold has come this way, and `images.decode` reads it."""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from pipeline.data.transforms import image_formats, image_metadata

Source = Image.Image | bytes | str | os.PathLike[str]

_MAX_PIXELS = 89_478_485  # above this Pillow suspects a decompression bomb
_MAX_SIDE = 65_500  # pixels; libjpeg's limit, and shards hold JPEGs
_MAX_MEMORY = 512 * 2**20  # bytes that one image may take while it is decoded (choice)
_MAX_ICON = 4096 * 4096  # pixels
_MAX_SCANS = 100  # of a JPEG; progressive ones have about ten, and each costs as much as an image
_ONE_BYTE_MODES = ("1", "L", "P")  # Pillow keeps the pixels of all others in four bytes
# what decoders take beside the image, bytes per pixel, measured
_DECODER_BYTES = {"WEBP": 13, "JPEG2000": 21, "AVIF": 8}
_PROGRESSIVE_BYTES = 6
# `convert` would clip these at 255, not scale them
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_WARNINGS = threading.Lock()
_BAND = 2**20  # pixels that are laid on white at a time
_EXIF_ORIENTATION = 0x0112
_ORIENTED = frozenset(("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"))
_SUBFILE_TYPE, _DNG_VERSION = 254, 50706  # TIFF tags
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(Exception):
    """The bytes are no usable image. The message is the reason: `kind` or `kind: detail`."""


class Frame(NamedTuple):
    """The first frame of an image file."""

    image: Image.Image  # loaded, with its pixels as they are stored
    transpose: Image.Transpose | None  # what turns it upright
    data: bytes  # the file, without the metadata that Pillow cannot read or warns of


def read(source: Source) -> Image.Image:
    """An image as it is shown: RGB, upright, on white where it is transparent.

    source: the bytes of a file, its path, or an image that somebody has opened or made; the last
    is turned too, unless its EXIF orientation is gone (as after `ImageOps.exif_transpose`).

    Raises:
        BadImage: see `first_frame`; or there is no such file.
    """
    if isinstance(source, Image.Image):
        return _opened(source)
    if isinstance(source, bytes):
        return as_shown(first_frame(source))
    if isinstance(source, (str, os.PathLike)):
        return as_shown(first_frame(_file(Path(source))))
    raise BadImage(f"expected an image, its bytes or its path, found {type(source).__name__}")


def first_frame(data: bytes) -> Frame:
    """The image in the bytes of a file.

    Raises:
        BadImage: empty, damaged, truncated, too large to decode, of more than 8 bits per channel,
            or of a format that is not read.
    """
    if not data:
        raise BadImage("empty image")
    for width, height in image_metadata.icon_sizes(data):  # Pillow decodes icons as it opens them
        if width * height > _MAX_ICON:
            raise BadImage(f"too many pixels: an icon of {width}x{height}")
    try:
        return _frame(data)
    except _BadValue:
        if not data.startswith(image_metadata.PNG):
            raise
        return _frame(image_metadata.without(data))  # Pillow limits texts and color profiles


def as_shown(frame: Frame) -> Image.Image:
    """The frame in RGB, on white where it is transparent (the color stored there was often not
    meant to be seen), and upright.

    Raises:
        BadImage: that would take too much memory.
    """
    image, turn = frame.image, frame.transpose
    if image.mode == "RGB" and not image.has_transparency_data and turn is None:
        return image
    _limit_memory(image, _stored_bytes(image) + 4)
    opaque = _on_white(image) if image.has_transparency_data else _rgb(image)
    if turn is None:
        return opaque
    upright = opaque.transpose(turn)
    for name in _ORIENTED:  # what comes back to `read` is not turned again
        upright.info.pop(name, None)
    return upright


def as_converted(frame: Frame) -> Image.Image:
    """The frame in RGB as it is stored: not turned, without what makes it transparent.

    Raises:
        BadImage: that would take too much memory.
    """
    _limit_memory(frame.image, _stored_bytes(frame.image) + 4)
    with PillowWarnings():  # which has a view on palettes with transparency
        return _rgb(frame.image)


class _BadValue(BadImage):
    """Pillow raised ValueError."""


class PillowWarnings(warnings.catch_warnings):
    """Collects warnings, which are about metadata. Whatever takes time is better done outside: the
    list of filters belongs to the process, so one thread at a time is here."""

    def __init__(self) -> None:
        super().__init__(record=True)

    def __enter__(self) -> Any:
        _WARNINGS.acquire()
        caught = super().__enter__()
        warnings.simplefilter("always")
        return caught

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        _WARNINGS.release()


def _frame(data: bytes) -> Frame:
    """The first error counts: some damaged files load "well" when asked a second time."""
    with _reasons(data):
        with PillowWarnings() as caught:
            image = Image.open(BytesIO(data), formats=image_formats.READ)
        if "progressive" in image.info:
            _limit_scans(data)
        _limit(image)
        image.load()
    transpose = _transpose(image)
    return Frame(image, transpose, image_metadata.without(data) if caught else data)


def _opened(image: Image.Image) -> Image.Image:
    if image.format not in image_formats.READ and getattr(image, "tile", None):
        raise BadImage(image_formats.not_read(image.format))  # its pixels are still in the file
    with _reasons(b""):
        _limit(image)
        image.load()
    return as_shown(Frame(image, _transpose(image), b""))


@contextmanager
def _reasons(data: bytes) -> Iterator[None]:
    """What Pillow raises as BadImage."""
    try:
        yield
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage("too many pixels") from None
    except UnidentifiedImageError:
        raise BadImage(image_formats.why_not(data)) from None
    except ValueError as error:
        raise _BadValue(_damage(error)) from None
    except Exception as error:  # noqa: BLE001  Pillow's plug-ins raise anything
        raise BadImage(_damage(error)) from None


def _file(path: Path) -> bytes:
    if not path.is_file():  # nor a folder, a pipe or a device
        raise BadImage(f"{path}: no such file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadImage(f"{path}: {error.strerror}") from None


def _limit(image: Image.Image) -> None:
    """Refuse, before the pixels are decoded, what cannot be a color image of usual size."""
    width, height = image.size
    if not width or not height:
        raise BadImage("damaged image: no pixels")
    if width * height > _MAX_PIXELS or max(width, height) > _MAX_SIDE:
        raise BadImage(f"too many pixels: {width}x{height}")
    if image.mode in _DEEP_MODES:
        raise BadImage(f"more than 8 bits per channel: mode {image.mode}")
    if image.format == "TIFF" and _is_camera_raw(image):
        raise BadImage(image_formats.not_read("camera raw"))
    progressive = _PROGRESSIVE_BYTES if "progressive" in image.info else 0
    beside = _DECODER_BYTES.get(image.format or "", progressive)
    _limit_memory(image, _stored_bytes(image) + beside)


def _limit_scans(data: bytes) -> None:
    """Of progressive JPEGs: a scan of theirs can be a few bytes, one of others cannot."""
    if image_metadata.num_scans(data) > _MAX_SCANS:
        raise BadImage(f"too many scans: a JPEG of over {_MAX_SCANS}")


def _limit_memory(image: Image.Image, bytes_per_pixel: int) -> None:
    if (needed := image.width * image.height * bytes_per_pixel) > _MAX_MEMORY:
        size = f"{image.width}x{image.height} {image.format} {image.mode}"
        raise BadImage(f"too many pixels: {size}, {needed // 2**20} MiB to decode")


def _stored_bytes(image: Image.Image) -> int:
    """Of a pixel."""
    return 1 if image.mode in _ONE_BYTE_MODES else 4


def _is_camera_raw(image: Image.Image) -> bool:
    """Whether the first image of a TIFF file is only a preview of another."""
    tags = getattr(image, "tag_v2", {})
    kind = tags.get(_SUBFILE_TYPE, 0)
    return _DNG_VERSION in tags or (isinstance(kind, int) and kind & 1 == 1)


def _damage(error: Exception) -> str:
    if "not available" in str(error):
        return f"no decoder: {error}"
    return f"damaged image: {type(error).__name__}: {error}"


def _transpose(image: Image.Image) -> Image.Transpose | None:
    """What the EXIF orientation asks for; None where there is none or the block is damaged."""
    if image.info.keys().isdisjoint(_ORIENTED) and not hasattr(image, "tag_v2"):
        return None  # as for most images, and quicker
    try:
        with PillowWarnings():
            return _TRANSPOSE.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  a damaged block does not harm the image
        return None


def _on_white(image: Image.Image) -> Image.Image:
    """By bands of rows: of a large image three layers at once would take a gigabyte."""
    rows = max(1, _BAND // image.width)
    if image.height <= rows:
        return _composed(image)
    opaque = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        opaque.paste(_composed(image.crop(box)), box)
    return opaque


def _composed(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")  # which copies in any case
