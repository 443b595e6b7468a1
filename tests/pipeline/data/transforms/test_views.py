"""Views are drawn_views as documented, stored exactly and replayed byte for byte."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageEnhance

from pipeline.data.shards import schema
from pipeline.data.transforms import images, views
from pipeline.data.transforms.views import View, ViewParams
from pipeline.utils import seeds

PARAMS = ViewParams(crop_scale=[0.2, 1.0], flip=0.5, color_jitter=0.4)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def scene(width: int = 72, height: int = 60, low: int = 90, high: int = 160) -> Image.Image:
    """A smooth image with values in low..high, so that no color operation clips."""
    noise = (
        seeds.generator("picture", width, height).integers(low, high, (8, 8, 3)).astype(np.uint8)
    )
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)


def draw(index: int, params: ViewParams = PARAMS, width: int = 640, height: int = 480) -> View:
    return views.draw(1, "a", index, width, height, 120.0, params)


def test_drawing_is_a_pure_function_and_every_argument_counts():
    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
    assert views.draw(1, "a", 0, 640, 480, 120.0, PARAMS) != views.draw(
        2, "a", 0, 640, 480, 120.0, PARAMS
    )
    assert views.draw(1, "a", 0, 640, 480, 120.0, PARAMS) != views.draw(
        1, "b", 0, 640, 480, 120.0, PARAMS
    )


def test_replay_from_the_stored_columns_gives_the_same_bytes():
    image = scene()
    drawn_views = [
        views.draw(3, "k", index, *image.size, images.mean_luma(image), PARAMS)
        for index in range(3)
    ]
    row = {"key": "k", **views.columns(drawn_views), "tokens": [0] * 12}
    row = pa.Table.from_pylist([row], schema.visual_tokens(3, 4)).to_pylist()[0]
    for index, view in enumerate(drawn_views):
        again = views.StoredViews(row)[index]
        assert again == view
        assert np.array_equal(views.apply(image, again, 48), views.apply(image, view, 48))


def test_crop_statistics():
    drawn_views = [draw(index) for index in range(4000)]
    box = np.array([view.box for view in drawn_views])
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    assert (box >= 0).all() and (box[:, 2] <= 640).all() and (box[:, 3] <= 480).all()
    share, aspect = width * height / (640 * 480), width / height
    assert share.min() >= 0.199 and share.max() <= 1.0
    assert aspect.min() >= 0.745 and aspect.max() <= 1.345
    small = share[share < 0.5]  # crops of this size nearly always fit: uniform in area there
    assert abs(small.mean() - 0.35) < 0.01
    assert abs(np.log(aspect[share < 0.5]).mean()) < 0.02
    assert abs(np.mean([view.flip for view in drawn_views]) - 0.5) < 0.03


@pytest.mark.parametrize(
    ("size", "box"), [((1000, 100), (433, 0, 566, 100)), ((100, 1000), (0, 433, 100, 566))]
)
def test_images_without_a_fitting_crop_get_the_largest_central_one(size, box):
    whole = ViewParams(crop_scale=[1.0, 1.0], flip=0.0, color_jitter=0.0)
    assert {draw(index, whole, *size).box for index in range(30)} == {tuple(map(float, box))}


def test_no_flip_and_no_jitter_leave_a_plain_resize():
    view = draw(0, ViewParams(crop_scale=[0.5, 1.0], flip=0.0, color_jitter=0.0))
    assert view.matrix == IDENTITY and not view.flip
    image = scene(640, 480)
    assert np.array_equal(
        views.apply(image, view, 32),
        np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC, box=view.box)),
    )


def test_flip_mirrors():
    box = (4.0, 6.0, 60.0, 50.0)
    straight, mirrored = (
        views.apply(scene(), View(box, flip, IDENTITY), 24) for flip in (False, True)
    )
    assert np.array_equal(mirrored, straight[:, ::-1])


@pytest.mark.parametrize("index", range(12))
def test_the_matrix_is_the_three_enhancements_in_their_order(index):
    image = scene()
    random = seeds.generator("jitter", index)
    matrix = views._color_jitter(seeds.generator("jitter", index), images.mean_luma(image), 0.3)
    factors = random.uniform(0.7, 1.3, size=3)
    expected = image
    for operation in random.permutation(3):
        enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[operation]
        expected = enhance(expected).enhance(factors[operation])
    found = np.asarray(image.convert("RGB", matrix), int)
    assert (
        np.abs(found - np.asarray(expected, int)).max() <= 4
    )  # Pillow truncates after each operation


def test_color_after_the_resize_is_color_before_it():
    image = scene(120, 90)
    view = views.draw(5, "c", 0, 120, 90, images.mean_luma(image), ViewParams([0.3, 0.9], 0.0, 0.3))
    before = images.crop_resize(image.convert("RGB", view.matrix), view.box, 40)
    assert np.abs(views.apply(image, view, 40).astype(int) - np.asarray(before, int)).max() <= 2


def test_normalize():
    pixels = torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8)
    assert torch.allclose(
        images.normalize(pixels).flatten(), torch.tensor([-1.0, -0.5 / 127.5, 1.0])
    )
    assert images.normalize(torch.zeros(2, 5, 7, 3, dtype=torch.uint8)).shape == (2, 3, 5, 7)
