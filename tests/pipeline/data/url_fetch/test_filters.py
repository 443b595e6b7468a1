"""What is kept of the bodies that URLs answer with."""

from dataclasses import replace

import pytest

from pipeline.data.url_fetch import filters
from pipeline.data.url_fetch.params import ClientParams, FetchParams
from tests.helpers.image_files import encoded, exif, progressive, scene

PARAMS = FetchParams(50, 8, 0, 90, 3, ClientParams(8, 3, 20.0, 1, "me", False))


@pytest.mark.parametrize(
    "body, status",
    [
        (b"<html>", "not an image"),
        (encoded(scene().convert("L"), "PPM"), "format not read"),
        (encoded(scene(), "EPS"), "format not read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "format not read"),
        (encoded(scene().resize((7, 9)), "PNG"), "too small"),
        (encoded(scene(), "JPEG"), "ok"),
    ],
)
@pytest.mark.parametrize("max_side", [0, 64])
def test_statuses(body, status, max_side):
    found, image = filters.apply(body, replace(PARAMS, max_side=max_side))
    assert (found, image) == (status, body if status == "ok" else None)


def test_what_is_reduced_is_decoded_and_judged():
    params = replace(PARAMS, max_side=64)
    assert filters.apply(b"\0\0\0\x18ftypheic", params) == ("format not read", None)
    assert filters.apply(progressive(64, 64, 101), params) == ("too many scans", None)
    assert filters.apply(encoded(scene(), "JPEG")[:-200], params) == ("damaged image", None)
    turned = encoded(scene(), "JPEG", exif=exif(6))
    assert filters.apply(turned, params)[1] not in (None, turned)
