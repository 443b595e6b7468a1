"""Checking the pictures that go into shards: each is decoded once, wholly."""

import warnings
from io import BytesIO

from PIL import Image, UnidentifiedImageError

# What may be behind a picture's name. Pillow knows more, but nobody needs it, and some of it starts
# programs (EPS).
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF", "ICO")
_LARGEST = 89_478_485  # pixels; beyond this Pillow suspects a decompression bomb
_KEPT_FORMATS = ("JPEG", "PNG")
_KEPT_MODES = ("RGB", "L")
_DEEP_MODES = (
    "I",
    "F",
    "I;16",
    "I;16B",
    "I;16L",
    "I;16N",
)  # `convert` would clip these at 255, not scale them
_QUALITY = 95
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadPicture(Exception):
    """The bytes are no usable picture. The message is the reason: `kind` or `kind: detail`."""


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as the header tells them, unchecked; None where it tells
    nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Image.open(BytesIO(data), formats=_FORMATS).size
        except Exception:  # Pillow's plug-ins raise anything on damaged files
            return None


def check(data: bytes, max_side: int, quality: int = _QUALITY) -> tuple[bytes, int, int]:
    """Encoded bytes of an upright RGB or grey JPEG or PNG, its width and its height in pixels.

    The bytes come back unchanged where they are this already and no side is longer than `max_side`
    (0: any length); otherwise the first frame is turned as its EXIF orientation says, laid on white
    where it is transparent, reduced and written as JPEG of this quality.

    Raises:
        BadPicture: empty, damaged, cut short, too large, of more than 8 bits per channel, or of a
        format that is not
            read.
    """
    if not data:
        raise BadPicture("empty picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd EXIF blocks and palettes do no harm
        image = _decode(data)
        turn = _TURNS.get(_orientation(image))
        if (
            image.format in _KEPT_FORMATS
            and image.mode in _KEPT_MODES
            and not image.has_transparency_data
            and turn is None
            and not 0 < max_side < max(image.size)
        ):
            return data, *image.size
        return _encode(image, max_side, turn, quality)


def check_mask(data: bytes, width: int, height: int) -> bytes:
    """A mask of classes, unchanged: a PNG of mode L, as large as its picture.

    Raises:
        BadPicture: damaged, of another mode (a palette or colours are not class numbers) or of
        another size.
    """
    image = _decode(data)
    if image.mode != "L":
        raise BadPicture(f"mask is not of mode L: {image.mode}")
    if image.size != (width, height):
        raise BadPicture(
            f"mask is of another size: {image.width}x{image.height}, picture {width}x{height}"
        )
    return data


def _decode(data: bytes) -> Image.Image:
    """The loaded first frame. The first error counts: some damaged files load "well" when asked a
    second time."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            image = Image.open(BytesIO(data), formats=_FORMATS)
            if image.width * image.height > _LARGEST:
                raise BadPicture("too many pixels")
            if image.mode in _DEEP_MODES:
                raise BadPicture(f"more than 8 bits per channel: mode {image.mode}")
            image.load()
        except Image.DecompressionBombError:
            raise BadPicture("too many pixels") from None
        except UnidentifiedImageError:
            raise BadPicture(
                _unidentified(" ".join(str(warning.message) for warning in said))
            ) from None
        except BadPicture:
            raise
        except Exception as error:  # Pillow's plug-ins raise anything on damaged files
            raise BadPicture(_damage(error)) from None
    return image


def _unidentified(said: str) -> str:
    """Builds of Pillow differ in the formats they read; which one is missing it only tells in a
    warning."""
    return f"no decoder: {said}" if "support not installed" in said else "not an image"


def _damage(error: Exception) -> str:
    kind = (
        "no decoder"
        if "not available" in str(error)
        else f"damaged picture: {type(error).__name__}"
    )
    return f"{kind}: {error}"


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 where there is none or the block is damaged."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged block does not harm the picture
        return 1


def _encode(
    image: Image.Image, max_side: int, turn: Image.Transpose | None, quality: int
) -> tuple[bytes, int, int]:
    picture = _opaque(image)
    if turn is not None:
        picture = picture.transpose(turn)
    if max_side:
        picture.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue(), *picture.size


def _opaque(image: Image.Image) -> Image.Image:
    """In RGB, on white where it is transparent: what hides there is often a colour that nobody was
    to see."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")
