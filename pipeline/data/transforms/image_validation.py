"""Checks of the images that go into shards: each is decoded once, as a whole."""

import warnings
from io import BytesIO

from PIL import Image, UnidentifiedImageError

# What may be behind an image's name. Pillow knows more, but nobody needs it, and some of it starts
# programs (EPS).
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF", "ICO")
_MAX_PIXELS = 89_478_485  # above this Pillow suspects a decompression bomb
_UNCHANGED_FORMATS = ("JPEG", "PNG")
_UNCHANGED_MODES = ("RGB", "L")
# `convert` would clip these at 255, not scale them
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_QUALITY = 95
_EXIF_ORIENTATION = 0x0112
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


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels according to the header, unchecked; None where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Image.open(BytesIO(data), formats=_FORMATS).size
        except Exception:  # noqa: BLE001  Pillow's plug-ins raise anything on damaged files
            return None


def check(data: bytes, max_side: int, quality: int = _QUALITY) -> tuple[bytes, int, int]:
    """Encoded bytes of an upright RGB or gray JPEG or PNG, its width and its height in pixels.

    The bytes come back unchanged where they are this already and no side is longer than `max_side`
    (0: any length); otherwise the first frame is turned as its EXIF orientation says, laid on white
    where it is transparent, reduced and written as JPEG of this quality.

    Raises:
        BadImage: empty, damaged, truncated, too large, of more than 8 bits per channel, or of a
            format that is not read.
    """
    if not data:
        raise BadImage("empty image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd EXIF blocks and palettes do no harm
        image = _decode(data)
        transpose = _TRANSPOSE.get(_orientation(image))
        if (
            image.format in _UNCHANGED_FORMATS
            and image.mode in _UNCHANGED_MODES
            and not image.has_transparency_data
            and transpose is None
            and not 0 < max_side < max(image.size)
        ):
            return data, *image.size
        return _encode(image, max_side, transpose, quality)


def check_mask(data: bytes, width: int, height: int) -> bytes:
    """A segmentation mask, unchanged: a PNG of mode L, as large as its image.

    Raises:
        BadImage: damaged, of another mode (neither a palette nor colors are class indices) or of
            another size.
    """
    image = _decode(data)
    if image.mode != "L":
        raise BadImage(f"mask is not of mode L: {image.mode}")
    if image.size != (width, height):
        raise BadImage(
            f"mask is of another size: {image.width}x{image.height}, image {width}x{height}"
        )
    return data


def _decode(data: bytes) -> Image.Image:
    """The loaded first frame. The first error counts: some damaged files load "well" when asked a
    second time."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            image = Image.open(BytesIO(data), formats=_FORMATS)
            if image.width * image.height > _MAX_PIXELS:
                raise BadImage("too many pixels")
            if image.mode in _DEEP_MODES:
                raise BadImage(f"more than 8 bits per channel: mode {image.mode}")
            image.load()
        except Image.DecompressionBombError:
            raise BadImage("too many pixels") from None
        except UnidentifiedImageError:
            raise BadImage(
                _unidentified(" ".join(str(warning.message) for warning in caught))
            ) from None
        except BadImage:
            raise
        except Exception as error:  # noqa: BLE001  Pillow's plug-ins raise anything
            raise BadImage(_damage(error)) from None
    return image


def _unidentified(warning: str) -> str:
    """Builds of Pillow differ in the formats they read; that one is missing is only in a
    warning."""
    return f"no decoder: {warning}" if "support not installed" in warning else "not an image"


def _damage(error: Exception) -> str:
    if "not available" in str(error):
        return f"no decoder: {error}"
    return f"damaged image: {type(error).__name__}: {error}"


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 where there is none or the block is damaged."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  a damaged block does not harm the image
        return 1


def _encode(
    image: Image.Image, max_side: int, transpose: Image.Transpose | None, quality: int
) -> tuple[bytes, int, int]:
    opaque = _opaque(image)
    if transpose is not None:
        opaque = opaque.transpose(transpose)
    if max_side:
        opaque.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    opaque.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue(), *opaque.size


def _opaque(image: Image.Image) -> Image.Image:
    """In RGB, on white where it is transparent: the color stored there was often not meant to be
    seen."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    background = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(background, layer).convert("RGB")
