"""What the URLs of a list answer: pictures drawn on demand, and now and then what the real web
answers."""

from collections.abc import Callable
from functools import cache
from io import BytesIO

from PIL import Image

from pipeline.data.synthetic import captioned_images
from pipeline.data.synthetic.injected_faults import truncated
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render

# one picture in so many is gone: by turns this is a 404, and a notice that is a picture itself
_GONE_EVERY = 40
_PAGE, _CUT, _EMPTY = (
    11,
    23,
    37,
)  # indices that answer an HTML page with status 200, a cut JPEG, an empty body
_HTML = b"<!DOCTYPE html><html><body>This photo is no longer available.</body></html>"


def responder(
    source: str,
    params: SyntheticParams,
    locate: Callable[[str], tuple[str, int] | None],
) -> Callable[[str], bytes | None]:
    """URL -> body, None for 404. `locate` gives the part and index that a URL stands for, None
    where unknown."""

    def answer(url: str) -> bytes | None:
        place = locate(url)
        if place is None or place[1] >= params.count(source, place[0]):
            return None
        part, index = place
        if part == "train" and index % _GONE_EVERY == _GONE_EVERY - 1:
            return _notice() if index // _GONE_EVERY % 2 else None
        if part == "train" and index in (_PAGE, _EMPTY):
            return _HTML if index == _PAGE else b""
        picture = render.jpeg(
            captioned_images.scene_at(params, source, part, index), params.jpeg_quality
        )
        return truncated(picture) if part == "train" and index == _CUT else picture

    return answer


@cache
def _notice() -> bytes:
    """The picture that stands where others were."""
    Image.new("RGB", (60, 45), (227, 227, 227)).save(buffer := BytesIO(), "JPEG")
    return buffer.getvalue()
