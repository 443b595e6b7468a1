"""What becomes of odd images: a right RGB image or a reject with its reason, never a crash or a
wrong image."""

import io
import json
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from pipeline.data.transforms import image_validation
from pipeline.data.transforms.image_validation import BadImage
from tests.helpers import real_data

REAL = real_data.folder("odd_images")
ORIENTATIONS = range(2, 9)


def scene() -> Image.Image:
    """Smooth, so that JPEG keeps it, with four different corners, and wider than high."""
    across, down = np.meshgrid(np.linspace(0, 255, 48), np.linspace(0, 255, 32))
    return Image.fromarray(np.stack([across, down, 255 - across], -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    image.save(buffer := io.BytesIO(), kind, **options)
    return buffer.getvalue()


def checked(data: bytes, max_side: int = 0) -> Image.Image:
    """What the shard holds, as the models decode it."""
    kept, *size = image_validation.check(data, max_side)
    image = Image.open(io.BytesIO(kept))
    assert (
        image.format in ("JPEG", "PNG") and image.mode in ("RGB", "L") and list(image.size) == size
    )
    assert image.getexif().get(0x0112, 1) == 1 and not image.has_transparency_data
    return image.convert("RGB")


def apart(first: Image.Image, second: Image.Image) -> float:
    """Mean difference of channels, in 0..255."""
    assert first.size == second.size
    return float(np.abs(np.asarray(first, float) - np.asarray(second.convert("RGB"), float)).mean())


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [
        encoded(scene(), "JPEG"),
        encoded(scene(), "JPEG", progressive=True),
        encoded(scene().convert("L"), "JPEG"),
        encoded(scene(), "PNG"),
        encoded(scene().convert("L"), "PNG"),
    ],
)
def test_ordinary_images_are_kept_byte_by_byte(data):
    assert image_validation.check(data, 0) == (data, 48, 32) == image_validation.check(data, 48)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation_is_applied_and_gone(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(), "JPEG", quality=95, exif=exif)
    assert apart(checked(data), ImageOps.exif_transpose(Image.open(io.BytesIO(data)))) < 2


@pytest.mark.parametrize("value", [0, 9, 1])
def test_an_orientation_that_means_nothing_is_none(value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = encoded(scene(), "JPEG", exif=exif)
    assert image_validation.check(data, 0)[0] == data


@pytest.mark.parametrize(
    "kind, mode, near",
    [
        ("JPEG", "CMYK", 4),
        ("GIF", "P", 12),
        ("PNG", "P", 12),
        ("BMP", "RGB", 2),
        ("TIFF", "RGB", 2),
        ("TIFF", "CMYK", 4),
        ("PNG", "RGBA", 2),
        ("ICO", "RGBA", 2),
    ],
)
def test_other_formats_and_modes_become_rgb_jpegs(kind, mode, near):
    options = {"sizes": [(48, 32)]} if kind == "ICO" else {"quality": 95} if kind == "JPEG" else {}
    assert apart(checked(encoded(scene().convert(mode), kind, **options)), scene()) < near


@pytest.mark.parametrize("mode, value", [("1", 255), ("L", 90)])
def test_gray_and_bitmap_keep_their_values(mode, value):
    image = Image.new(mode, (6, 4), value)
    assert np.asarray(checked(encoded(image, "TIFF"))).mean() == pytest.approx(value, abs=1)


def test_the_first_frame_is_the_image():
    data = encoded(scene(), "GIF", save_all=True, append_images=[Image.new("RGB", (48, 32), "red")])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert apart(checked(data), scene()) < 12


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_becomes_white(mode):
    """Below the transparent left half is black; transparency is an alpha channel, a palette entry or
    a color."""
    image = Image.new("RGB", (8, 4), (200, 200, 200))
    image.paste((0, 0, 0), (0, 0, 4, 4))
    alpha = Image.new("L", (8, 4), 255)
    alpha.paste(0, (0, 0, 4, 4))
    options = {}
    if mode == "P":
        image, options = image.quantize(2), {}
        options["transparency"] = image.getpixel((0, 0))
    elif mode == "RGB":
        options["transparency"] = (0, 0, 0)
    else:
        image = image.convert(mode)
        image.putalpha(alpha)
    pixels = np.asarray(checked(encoded(image, "PNG", **options)), int)
    assert np.abs(pixels[:, :3] - 255).max() < 12 and np.abs(pixels[:, 5:] - 200).max() < 12


def test_sixteen_bits_are_scaled_or_refused_but_never_clipped():
    gray = struct.pack(">B4H", 0, 0, 20_000, 40_000, 65_535) * 4
    with pytest.raises(BadImage, match="^more than 8 bits per channel: mode I;16"):
        image_validation.check(png(4, 4, 16, 0, gray), 0)
    colors = struct.pack(">B6H", 0, 65_535, 0, 0, 25_700, 25_700, 25_700) * 2
    assert np.asarray(checked(png(2, 2, 16, 2, colors)))[0].tolist() == [
        [255, 0, 0],
        [100, 100, 100],
    ]
    with pytest.raises(BadImage, match="^more than 8 bits"):
        image_validation.check(encoded(Image.new("F", (4, 4), 0.5), "TIFF"), 0)


def test_long_sides_are_reduced():
    image = checked(encoded(scene().resize((480, 320)), "JPEG", quality=95), 48)
    assert apart(image, scene()) < 3
    assert checked(encoded(Image.new("RGB", (400, 1)), "PNG"), 20).size == (20, 1)


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty image"),
        (b"<html>", "not an image"),
        (encoded(scene().resize((480, 320)), "JPEG")[:-900], "damaged image: OSError"),
        (encoded(scene(), "PNG")[:-40], "damaged image"),
        (encoded(scene(), "GIF")[:900], "damaged image"),
        (png(20_000, 20_000, 8, 2, b""), "too many pixels"),
        (png(9500, 9500, 8, 2, b""), "too many pixels"),
        (png(40, 40, 8, 2, b"\0"), "damaged image"),
    ],
)
def test_unusable_images(data, reason):
    with pytest.raises(BadImage, match=f"^({reason})"):
        image_validation.check(data, 0)


def test_the_content_tells_the_format_not_the_name_and_no_other_program_is_started(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    postscript = encoded(scene(), "EPS")
    with pytest.raises(BadImage, match="^not an image"):
        image_validation.check(postscript, 0)


def test_a_format_that_this_pillow_lacks_is_called_so(monkeypatch):
    if not features.check("webp"):
        with pytest.raises(BadImage, match="^no decoder: .*WEBP"):
            image_validation.check(
                b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0",
                0,
            )


REJECTED = {
    "16bit.cropped.tif": "more than 8 bits per channel",
    "badwidth.bmp": "too many pixels",
    "decompression_bomb.gif": "too many pixels",
    "pngtest_bad.png.bin": "not an image",
    "sgi_crash.bin": "not an image",
    "truncated_image.png": "damaged image",
    **({} if features.check("webp") else {"hopper.webp": "no decoder"}),
    **({} if features.check("jpg_2000") else {"test-card-lossless.jp2": "no decoder"}),
}


@real_data.needs("odd_images")
class TestOddImages:
    def test_each_is_accounted_for(self):
        facts_by_name = json.loads((REAL / "manifest.json").read_text())["files"]
        reasons = {}
        for name, facts in facts_by_name.items():
            try:
                image = checked((REAL / name).read_bytes())
                assert list(image.size) == facts["transposed_size"], name
            except BadImage as error:
                reasons[name] = str(error).partition(":")[0]
        assert len(facts_by_name) == 34 and reasons == REJECTED

    def test_turned_copies_of_one_image_look_alike(self):
        upright = checked((REAL / "hopper_idat_after_image_end.png").read_bytes())
        for turn in (2, 4, 6, 7):
            assert (
                apart(checked((REAL / f"hopper_orientation_{turn}.jpg").read_bytes()), upright) < 8
            ), turn

    @pytest.mark.parametrize(
        "name", ["iss634.gif", "hopper_zero_comment_subblocks.gif", "rgb24.bmp"]
    )
    def test_others_are_what_pillow_shows_first(self, name):
        assert (
            apart(checked((REAL / name).read_bytes()), Image.open(REAL / name).convert("RGB")) < 6
        )
