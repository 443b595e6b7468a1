"""What is kept of an answer's body: the image as it is, or reduced, or the reason why there is
none."""

import re

from pipeline.data.transforms import image_formats, image_validation
from pipeline.data.transforms.image_decoding import BadImage
from pipeline.data.url_fetch.params import FetchParams

_IMAGE = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|BM|II\*\x00|MM\x00\*|....ftyp|"
    rb"\x00\x00\x00\x0cjP  |\x00\x00\x01\x00",
    re.DOTALL,
)


def apply(body: bytes, params: FetchParams) -> tuple[str, bytes | None]:
    """Status and encoded image. Without `max_side` only the header is looked at: sharding decodes
    what is kept."""
    if not _IMAGE.match(body):
        return image_formats.why_not(body).partition(":")[0], None
    if min(image_validation.size(body) or [params.min_side]) < params.min_side:
        return "too small", None
    if not params.max_side:
        return "ok", body
    try:
        return "ok", image_validation.check(body, params.max_side, params.quality).data
    except BadImage as error:
        return str(error).partition(":")[0], None
