"""Responses to the URLs of a list: images rendered on demand, and now and then faults of the real
web."""

from collections.abc import Callable
from functools import cache
from io import BytesIO

from PIL import Image

from pipeline.data.synthetic import captioned_images
from pipeline.data.synthetic.injected_faults import truncated
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render

Responder = Callable[[str], bytes | None]  # URL -> body of the response, None for 404

# One image in 40 is gone: by turns the response is 404 and a placeholder image.
_GONE_EVERY = 40
# Indices of training images for which the response is an HTML page with status 200, a truncated
# JPEG, an empty body.
_PAGE, _TRUNCATED, _EMPTY = 11, 23, 37
_HTML = b"<!DOCTYPE html><html><body>This photo is no longer available.</body></html>"


def responder(
    source: str,
    params: SyntheticParams,
    locate: Callable[[str], tuple[str, int] | None],
) -> Responder:
    """The function URL -> body of the response, None for 404.

    locate: URL -> part and index of its image, None if it is unknown.
    """

    def respond(url: str) -> bytes | None:
        location = locate(url)
        if location is None:
            return None
        part, index = location
        if index >= params.count(source, part):
            return None
        if part != "train":
            return _jpeg(source, params, part, index)
        if index % _GONE_EVERY == _GONE_EVERY - 1:
            return _placeholder() if index // _GONE_EVERY % 2 else None
        if index in (_PAGE, _EMPTY):
            return _HTML if index == _PAGE else b""
        image = _jpeg(source, params, part, index)
        return truncated(image) if index == _TRUNCATED else image

    return respond


def _jpeg(source: str, params: SyntheticParams, part: str, index: int) -> bytes:
    scene = captioned_images.scene_at(params, source, part, index)
    return render.jpeg(scene, params.jpeg_quality)


@cache
def _placeholder() -> bytes:
    """The image that replaces others, as JPEG bytes."""
    buffer = BytesIO()
    Image.new("RGB", (60, 45), (227, 227, 227)).save(buffer, "JPEG")
    return buffer.getvalue()
