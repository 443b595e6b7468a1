"""What becomes of odd images: a right RGB image or a reject with its reason, never a crash or a
wrong image."""

import io
import json
import struct
import subprocess
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from pipeline.data.transforms import image_validation, images
from pipeline.data.transforms.image_decoding import BadImage
from tests.helpers import real_data
from tests.helpers.image_files import chunk, encoded, exif, png, scene

REAL = real_data.folder("odd_images")
ORIENTATIONS = range(2, 9)


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
    data = encoded(scene(), "JPEG", quality=95, exif=exif(orientation))
    assert apart(checked(data), ImageOps.exif_transpose(Image.open(io.BytesIO(data)))) < 2


@pytest.mark.parametrize("value", [0, 9, 1])
def test_an_orientation_that_means_nothing_is_none(value):
    data = encoded(scene(), "JPEG", exif=exif(value))
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


def transparent(mode: str, **options: object) -> bytes:
    """A PNG with two pixels of three out of sight."""
    image = scene()
    if mode == "P":
        image, options = image.quantize(16), {"transparency": bytes([0, 0, 255] * 5)}
    elif mode != "RGB":
        image.putalpha(0)
        image = image.convert(mode)
    return encoded(image, "PNG", **options)


TURNED = encoded(scene(), "JPEG", exif=exif(6))
AS_STORED = {
    "turned by EXIF": (TURNED, True),
    "gray": (encoded(scene().convert("L"), "JPEG", exif=exif(3)), True),
    "CMYK": (encoded(scene().convert("CMYK"), "JPEG"), True),
    "alpha": (transparent("RGBA"), True),
    "gray with alpha": (transparent("LA"), True),
    "a transparent color": (transparent("RGB", transparency=(0, 0, 255)), True),
    "palette": (encoded(scene().quantize(16), "PNG"), False),
    "transparent palette": (transparent("P"), False),
    "other format": (encoded(scene().quantize(16), "GIF"), False),
}


@pytest.mark.parametrize("data, is_kept", AS_STORED.values(), ids=AS_STORED.keys())
def test_what_is_kept_as_stored_is_seen_as_pillow_converts_it(data: bytes, is_kept: bool) -> None:
    """Pixel by pixel, without a turn or white, and without a warning when it is read."""
    with warnings.catch_warnings(action="ignore"):
        converted = Image.open(io.BytesIO(data)).convert("RGB")
    kept = image_validation.check(data, 0, as_stored=True)
    assert (kept.data == data) == is_kept and (kept.width, kept.height) == converted.size
    with warnings.catch_warnings(action="error"):
        assert np.array_equal(images.decode(kept.data), converted)


def test_what_cannot_be_decoded_is_not_stored_either() -> None:
    for data in (TURNED[:-200], b"GIF89a", encoded(Image.new("I;16", (4, 4)), "PNG")):
        with pytest.raises(BadImage):
            image_validation.check(data, 0, as_stored=True)


def test_an_image_kept_as_stored_is_reduced_without_a_turn() -> None:
    kept = image_validation.check(TURNED, 24, as_stored=True)
    assert apart(images.decode(kept.data), scene().resize((24, 16))) < 8
    assert (kept.width, kept.height) == (24, 16)


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
        (png(65_501, 1, 8, 2, b"\0" * 196_504), "too many pixels"),
        (png(0, 4, 8, 2, b""), "not an image"),
        (png(40, 40, 8, 2, b"\0"), "damaged image"),
    ],
)
def test_unusable_images(data, reason):
    with pytest.raises(BadImage, match=f"^({reason})"):
        image_validation.check(data, 0)


def test_the_content_tells_the_format_not_the_name_and_no_other_program_is_started(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    postscript = encoded(scene(), "EPS")
    with pytest.raises(BadImage, match="^format not read: EPS"):
        image_validation.check(postscript, 0)


def test_a_format_that_this_pillow_lacks_is_called_so(monkeypatch):
    if not features.check("webp"):
        with pytest.raises(BadImage, match="^no decoder: .*WEBP"):
            image_validation.check(
                b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0",
                0,
            )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [32, 48])
def test_a_mask_turns_with_its_image(orientation, side):
    """Each class stays on the pixels of its color."""
    classes = np.repeat(np.repeat([[1, 2, 3], [4, 5, 6]], side // 2, 0), 16, 1).astype(np.uint8)
    colors = Image.fromarray(classes * 40).convert("RGB")
    image = encoded(colors, "JPEG", quality=100, exif=exif(orientation))
    mask = encoded(Image.fromarray(classes), "PNG")
    kept, kept_mask = image_validation.check_with_mask(image, mask)
    turned, shown = images.decode_mask(kept_mask), np.asarray(images.decode(kept.data), int)
    assert turned.shape == shown.shape[:2] == (kept.height, kept.width)
    assert (np.abs(shown - 40 * turned[..., None].astype(int)).max(axis=2) < 20).mean() > 0.9
    assert (kept.data, kept_mask) == (image, mask) or orientation > 1


def test_a_mask_stays_where_its_image_is_kept_as_stored() -> None:
    mask = encoded(Image.new("L", scene().size, 7), "PNG")
    kept, kept_mask = image_validation.check_with_mask(TURNED, mask, as_stored=True)
    assert (kept.data, kept_mask) == (TURNED, mask)


@pytest.mark.parametrize(
    "mask, reason",
    [
        (
            encoded(Image.new("L", (48, 32)).transpose(Image.Transpose.ROTATE_90), "PNG"),
            "of another",
        ),
        (encoded(Image.new("L", (48, 32)), "JPEG"), "not a PNG of mode L: JPEG of mode L"),
        (encoded(Image.new("P", (48, 32)), "PNG"), "not a PNG of mode L: PNG of mode P"),
    ],
)
def test_a_mask_that_does_not_fit_its_image(mask, reason):
    image = encoded(scene(), "JPEG", exif=exif(6))
    with pytest.raises(BadImage, match=f"^mask is {reason}"):
        image_validation.check_with_mask(image, mask)


TEXTS = {
    "color profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3_000_000))),
    "texts": chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 2_000_000)) * 3,
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"a" * 2_000_000)),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_large_metadata_is_left_out_and_every_pixel_stays(kind):
    rows = b"".join(b"\0" + bytes(range(row, row + 6)) for row in range(3))
    turned = chunk(b"eXIf", exif(3).tobytes()[6:])
    plain = png(2, 3, 8, 2, rows)
    assert image_validation.check(png(2, 3, 8, 2, rows, TEXTS[kind]), 0).data == plain
    upright = np.asarray(images.decode(plain))
    shown = checked(png(2, 3, 8, 2, rows, TEXTS[kind] + turned))
    assert np.abs(np.asarray(shown, int) - upright[::-1, ::-1]).max() < 8


def test_what_pillow_warns_of_is_left_out_so_that_training_warns_of_nothing():
    damaged = encoded(
        scene(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0" + b"\x12\x01\x03\0" * 4
    )
    with pytest.warns(UserWarning):
        before = Image.open(io.BytesIO(damaged)).convert("RGB")
    kept = image_validation.check(damaged, 0).data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert apart(images.decode(kept), before) == 0


REJECTED = {
    "16bit.cropped.tif": "more than 8 bits per channel",
    "badwidth.bmp": "too many pixels",
    "decompression_bomb.gif": "too many pixels",
    "pngtest_bad.png.bin": "not an image",
    "sgi_crash.bin": "format not read",
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
