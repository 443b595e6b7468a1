"""What the page refuses, as sharding would, in one sentence."""

import pytest
from PIL import Image

from pipeline.data.records import LONGEST
from pipeline.demo import inputs
from pipeline.errors import UserError
from tests.helpers.image_files import encoded, exif, scene

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "image: there is none"),
        (b"", "image: empty image"),
        (b"<html>", "image: not an image"),
        (EPS, "image: format not read: EPS"),
        (encoded(Image.new("I;16", (4, 4)), "PNG"), "image: more than 8 bits per channel"),
        (encoded(scene(), "JPEG")[:-200], "image: damaged image"),
    ],
)
def test_images_are_refused(data, message):
    with pytest.raises(UserError, match=message) as caught:
        inputs.image(data)
    assert "\n" not in str(caught.value)


def test_images_are_turned_upright():
    assert inputs.image(encoded(scene(), "JPEG", exif=exif(6))).size == (32, 48)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "question: empty"),
        (None, "question: empty"),
        (" \n\x00", "question: empty"),
        ("\ud83d", "question: damaged"),
        ("a " * LONGEST, "question: 1,999 characters, at most 1,000 are read"),
    ],
)
def test_texts_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        inputs.text(text, "question")


def test_texts_are_as_shards_hold_them():
    assert inputs.text(" red &amp;\nblue ", "text") == "red & blue"


def test_small_images_are_shown_larger_and_large_ones_smaller():
    assert inputs.shown(scene()).size == (6 * 48, 6 * 32)
    assert inputs.shown(Image.new("RGB", (500, 400))).size == (500, 400)
    assert inputs.shown(Image.new("RGB", (4000, 1))).size == (1000, 1)


def test_images_stand_side_by_side_at_one_height():
    wide, square = (encoded(Image.new("RGB", size), "PNG") for size in ((400, 200), (400, 400)))
    assert inputs.side_by_side([wide, square]).size == (400 + 8 + 200, 200)
    assert inputs.side_by_side([square]).size == (320, 320)
    assert inputs.side_by_side([encoded(Image.new("RGB", (1, 5000)), "PNG")]).size == (1, 320)
