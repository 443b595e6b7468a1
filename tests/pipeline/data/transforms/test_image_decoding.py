"""The one way from unchecked bytes to an image: what a saved model is shown is what a shard would
hold, and nothing that is read takes more memory, time or programs than it should."""

import io
import os
import struct
import subprocess
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.transforms import image_decoding, image_metadata, image_validation, images
from pipeline.data.transforms.image_decoding import BadImage, Source
from tests.helpers.image_files import chunk, encoded, exif, png, progressive, scene


def transparent() -> Image.Image:
    image = scene().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def icon(image: bytes) -> bytes:
    """An ICO file whose directory says that its image has 16 x 16 pixels."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(image), 22) + image


def deep() -> Image.Image:
    return Image.fromarray((np.arange(1536).reshape(32, 48) * 40).astype(np.uint16))


FILES = {
    **{
        f"turned {turn}": encoded(scene(), "JPEG", quality=95, exif=exif(turn)) for turn in range(9)
    },
    "turned PNG": encoded(scene(), "PNG", exif=exif(6)),
    "turned and transparent": encoded(transparent(), "PNG", exif=exif(5)),
    "gray": encoded(scene().convert("L"), "PNG"),
    "RGBA": encoded(transparent(), "PNG"),
    "LA": encoded(transparent().convert("LA"), "PNG"),
    "palette": encoded(scene().quantize(64), "PNG"),
    "transparent palette": encoded(scene().quantize(8), "PNG", transparency=3),
    "transparent bytes": encoded(scene().quantize(8), "PNG", transparency=bytes(range(0, 256, 40))),
    "transparent color": encoded(Image.new("RGB", (8, 8), "red"), "PNG", transparency=(255, 0, 0)),
    "bits": encoded(scene().convert("1"), "PNG"),
    "CMYK": encoded(scene().convert("CMYK"), "JPEG", quality=95),
    "animated": encoded(scene(), "GIF", save_all=True, append_images=[Image.new("RGB", (48, 32))]),
    "16 bits": encoded(deep(), "PNG"),
    "16 bits, TIFF": encoded(deep(), "TIFF"),
    "cut off": encoded(scene(), "PNG")[:-60],
    "profile": png(
        1, 1, 8, 2, b"\0abc", chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3_000_000)))
    ),
}


def in_shard(data: bytes) -> np.ndarray | str:
    """Pixels, or the reason why there are none."""
    try:
        return np.asarray(images.decode(image_validation.check(data, 0).data), int)
    except BadImage as error:
        return str(error)


def at_use(source: Source) -> np.ndarray | str:
    try:
        return np.asarray(image_decoding.read(source), int)
    except BadImage as error:
        return str(error)


def assert_same(shown: np.ndarray | str, stored: np.ndarray | str) -> None:
    """Equal to the last bit, or to what is left of it by a JPEG of quality 95."""
    if isinstance(shown, str) or isinstance(stored, str):
        assert shown == stored
    elif not np.array_equal(shown, stored):
        reduced = encoded(Image.fromarray(shown.astype(np.uint8)), "JPEG", quality=95)
        assert np.array_equal(np.asarray(images.decode(reduced)), stored)


@pytest.mark.parametrize("name", FILES)
def test_a_saved_model_sees_what_a_shard_would_hold(name, tmp_path):
    data = FILES[name]
    expected = in_shard(data)
    assert_same(at_use(data), expected)
    (tmp_path / "image").write_bytes(data)
    assert_same(at_use(tmp_path / "image"), expected)
    if name not in ("cut off", "profile"):
        assert_same(at_use(Image.open(io.BytesIO(data))), expected)


@pytest.mark.parametrize("name", FILES)
def test_an_image_that_was_read_is_read_as_it_is(name):
    if not isinstance(once := at_use(FILES[name]), str):
        assert np.array_equal(at_use(image_decoding.read(FILES[name])), once)


def test_what_a_shard_keeps_is_seen_to_the_last_bit():
    for name in ("turned 0", "turned 1", "gray"):
        assert np.array_equal(at_use(FILES[name]), in_shard(FILES[name])), name


BYTES = st.binary(max_size=200)
DAMAGE = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4)


@settings(max_examples=40)
@given(st.sampled_from(sorted(FILES)), DAMAGE, st.integers(0, 10**6), BYTES)
def test_any_bytes_are_an_image_or_have_a_reason_and_both_ways_agree(name, damage, length, end):
    data = bytearray(FILES[name])
    for position, value in damage:
        data[position % len(data)] = value
    hostile = bytes(data[: length % (2 * len(data))]) + end
    assert_same(at_use(hostile), in_shard(hostile))


@given(BYTES)
def test_any_other_bytes_have_a_reason(data):
    reason = in_shard(data)
    assert isinstance(reason, str) and reason == at_use(data)


@given(
    st.sampled_from([b"\xff\xd8", image_metadata.PNG, b"\0\0\1\0", b""]), st.binary(max_size=400)
)
def test_metadata_is_told_from_the_rest_in_any_bytes(start, data):
    assert all(min(size) >= 0 for size in image_metadata.icon_sizes(start + data))
    stripped = image_metadata.without(start + data)
    assert image_metadata.without(stripped) == stripped and len(stripped) <= len(start + data)
    assert 0 <= image_metadata.num_scans(start + data) <= 100


NOT_READ = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(20),
    "PGM": encoded(scene().convert("L"), "PPM"),
    "PPM": encoded(scene(), "PPM"),
    "PBM": b"P1\n# a comment\n2 2\n0 1 1 0\n",
    "EPS": encoded(scene(), "EPS"),
    "PDF": b"%PDF-1.7\n",
    "SVG": b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PSD": b"8BPS\0\1" + bytes(30),
    "JPEG XL": b"\xff\x0a" + bytes(30),
    "DDS": encoded(scene(), "DDS"),
    "SGI": encoded(scene(), "SGI"),
    "PCX": encoded(scene(), "PCX"),
    "camera raw": encoded(scene(), "TIFF", tiffinfo={254: 1}),
    "video": b"\0\0\0\x18ftypisom" + bytes(30),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_a_format_that_is_not_read_is_named_and_never_opened(name, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    reason = f"format not read: {name}; convert it to JPEG or PNG"
    assert in_shard(NOT_READ[name]) == at_use(NOT_READ[name]) == reason
    with pytest.raises(OSError):
        images.decode(NOT_READ[name])


def test_an_opened_image_of_such_a_format_is_not_decoded_either(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    assert str(at_use(Image.open(io.BytesIO(NOT_READ["EPS"])))).startswith("format not read: EPS")


def test_an_image_that_was_turned_upright_before_stays_so():
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(FILES["turned 6"])))
    assert np.array_equal(at_use(upright), np.asarray(upright))


@pytest.mark.parametrize(
    "data, reason",
    [
        (icon(png(4097, 4096, 8, 6, b"")), "too many pixels: an icon of 4097x4096"),
        (icon(struct.pack("<Iii24x", 40, 9000, -9000)), "too many pixels: an icon of 9000x9000"),
        (icon(struct.pack("<IHH4x", 12, 9000, 9000)), "too many pixels: an icon of 9000x9000"),
        (progressive(64, 64, 101), "too many scans"),
        (png(8200, 8200, 8, 6, b""), "damaged|too many pixels"),
        (
            encoded(Image.new("RGB", (9400, 9400)), "JPEG", progressive=True),
            "too many pixels: .*MiB",
        ),
        (
            encoded(Image.new("RGBA", (8300, 8300)), "PNG", compress_level=1),
            "too many pixels: .*MiB",
        ),
    ],
)
def test_what_would_take_too_much_is_refused(data, reason):
    with pytest.raises(BadImage, match=f"^({reason})"):
        image_decoding.read(data)


def test_scans_are_those_of_the_image_not_of_what_is_beside_it():
    """As in a thumbnail in the metadata and in the film behind a photograph of a telephone."""
    many = b"\xff\xda" * 200
    ordinary = encoded(scene(), "JPEG", progressive=True, exif=b"Exif\0\0" + many) + many
    assert not isinstance(in_shard(ordinary), str)
    assert image_metadata.num_scans(progressive(64, 64, 100)) == 100
    assert not isinstance(in_shard(progressive(64, 64, 100)), str)


def test_a_large_transparent_image_takes_little_more_memory_than_its_pixels(monkeypatch):
    """Layers of whole images would be five times its four bytes a pixel."""
    areas = []
    new = Image.new
    monkeypatch.setattr(
        Image, "new", lambda mode, size, *a: areas.append(size[0] * size[1]) or new(mode, size, *a)
    )
    image_decoding.as_shown(image_decoding.Frame(new("RGBA", (1000, 4000)), None, b""))
    assert max(areas) == 1000 * 4000 and sorted(areas)[-2] <= 2**20


def test_of_an_animation_one_frame_is_read():
    rows = [Image.new("P", (64, 64), number % 256) for number in range(400)]
    data = encoded(rows[0], "GIF", save_all=True, append_images=rows[1:])
    frame = image_decoding.first_frame(data).image
    assert frame.tell() == 0 and frame.size == (64, 64)


@pytest.mark.parametrize("source", [None, 3, [scene()], np.zeros((4, 4, 3)), {"image": b""}])
def test_what_is_no_image_at_all_is_said(source):
    assert str(at_use(source)).startswith("expected an image, its bytes or its path, found ")


def test_only_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none.jpg", "/dev/zero"):
        assert at_use(path) == f"{path}: no such file"


def test_a_header_alone_allocates_nothing():
    claimed = b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6
    )
    assert str(in_shard(claimed)).startswith("too many pixels")


def test_threads_leave_the_filters_of_warnings_as_they_were():
    damaged = encoded(
        scene(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0" + b"\x12\x01\x03\0" * 4
    )
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        kept = set(threads.map(lambda data: image_decoding.first_frame(data).data, [damaged] * 200))
    assert warnings.filters == before and len(kept) == 1
