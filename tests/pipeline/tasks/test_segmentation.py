"""Segmentation: data in ADE20K's format, augmentation, heads, sliding windows and mIoU against
simple references."""

import io
import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from model import checkpoint
from model.backbone.config import BackboneConfig
from model.checkpoint import load, save
from model.heads.segmentation import (
    HeadConfig,
    Segmentation,
    SegmentationConfig,
    drop_channels,
    pixel_loss,
)
from pipeline.data.datasets import ade20k
from pipeline.data.loading.sampler import MicroBatch, OrderParams
from pipeline.data.records import MaskRecord, Rejected
from pipeline.data.sharding import record_reader
from pipeline.data.sharding.build import ImageShardParams, shard
from pipeline.data.shards import parquet
from pipeline.data.synthetic import generate
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import masks, render, scene
from pipeline.errors import UserError
from pipeline.released import beit, state_dict
from pipeline.released.synthetic import beit as synthetic_beit
from pipeline.tasks import Folders, runner
from pipeline.tasks.segmentation import predict
from pipeline.tasks.segmentation.training import augment, metrics, resize, sliding_window, task
from pipeline.tasks.segmentation.training.augment import AugmentParams, PhotometricParams
from pipeline.tasks.segmentation.training.data import (
    CropBatches,
    InputParams,
    LabeledImage,
    decoded_mask,
    training_labels,
)
from pipeline.tracking.client import Run
from pipeline.training.loop import LoopParams, train
from tests.helpers import real_data
from tests.helpers.interrupted import resumed, without_training
from tests.helpers.worlds import FULL

REAL = real_data.folder("ade20k")
CLASSES = len(masks.classes(FULL))
TINY = BackboneConfig(
    image_size=32,
    patch_size=8,
    depth=4,
    embed_dim=16,
    num_heads=2,
    mlp_dim=32,
    vocab_size=30,
    text_length=10,
    experts="mome",
    drop_path=0.1,
    init_std=0.02,
)
HEAD = HeadConfig(
    classes=CLASSES,
    layers=[0, 1, 2, 3],
    channels=8,
    auxiliary_channels=6,
    pool_scales=[1, 2],
    dropout=0.1,
)
STILL = PhotometricParams(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
AUGMENT = AugmentParams(
    ratio=[0.5, 2.0], one_class=0.75, flip=0.5, photometric=PhotometricParams(32.0, 0.5, 0.5, 0.1)
)
INPUTS = InputParams(
    image_size=32,
    long_side=120,
    short_side=32,
    stride=20,
    normalize="half",
    resize_filter="bicubic",
    augment=AUGMENT,
    order=OrderParams(streams=2, shuffle_block=2, batch_size=4),
)
SYNTHETIC = SyntheticParams(
    seed=5, image_size=40, jpeg_quality=90, sizes={"ade20k": {"train": 34, "val": 5}}, world=FULL
)


# Data


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("ade20k")
    (root / "raw").mkdir()
    generate.write("ade20k", root / "raw", SYNTHETIC)
    shard("ade20k", root / "raw", root / "shards", ImageShardParams(8, 8, 0.0, 0))
    return Folders(root / "shards", root / "no tokenizer")


def test_the_world_is_written_and_read_in_the_official_format(folders):
    raw = folders.shards.parent / "raw"
    with zipfile.ZipFile(raw / "ADEChallengeData2016.zip") as archive:
        names = archive.namelist()
        info = archive.read("ADEChallengeData2016/objectInfo150.txt").decode().splitlines()
        scenes = archive.read("ADEChallengeData2016/sceneCategories.txt").decode().splitlines()
    assert "ADEChallengeData2016/images/training/ADE_train_00000001.jpg" in names
    assert "ADEChallengeData2016/annotations/validation/ADE_val_00000005.png" in names
    assert (
        info[0].split("\t") == ["Idx", "Ratio", "Train", "Val", "Name"] and len(info) == 1 + CLASSES
    )
    assert sum(float(line.split("\t")[1]) for line in info[1:]) == pytest.approx(1, abs=0.002)
    assert len(scenes) == 39 and scenes[0].split()[0] == "ADE_train_00000001"
    index = json.loads((folders.shards / "index.json").read_text())
    assert {split: facts["rows"] for split, facts in index["splits"].items()} == {
        "train": 32,
        "val": 5,
    }
    assert (
        index["rejected"] == {"damaged image": 1, "missing annotation": 1}
        and index["kind"] == "masks"
    )


def test_masks_agree_with_the_images(folders):
    rows = list(parquet.read_rows(folders.shards, "val"))
    assert [row["key"] for row in rows] != sorted(row["key"] for row in rows)
    for row in rows:
        sample = scene.sample(5, "ade20k/val", int(row["key"][-8:]) - 1, 40, FULL, evaluation=True)
        mask = np.asarray(Image.open(io.BytesIO(row["mask"])))
        assert mask.shape == (row["height"], row["width"]) == (sample.height, sample.width)
        shown = {
            masks.value(name, FULL)
            for name in (sample.background, *(thing.shape for thing in sample.things))
        }
        assert set(np.unique(mask)) == shown | {0} and 0 < (mask == 0).mean() < 0.25


def test_a_mask_follows_the_order_of_things_and_leaves_edges_out():
    back = scene.Thing("square", "red", "plain", "large", 0.5, 0.5, 0, FULL.sizes["large"])
    front = scene.Thing("ring", "blue", "plain", "small", 0.5, 0.5, 0, FULL.sizes["small"])
    sample = scene.Scene("sea", (back, front), 80, 72, 1)
    mask = np.asarray(masks.mask(sample, FULL))
    assert mask[0, 0] == masks.value("sea", FULL) and mask[36, 40] == masks.value(
        "square", FULL
    )  # through the ring's hole
    left, _, side, _ = render.box(front, sample)
    assert mask[36, left + 2] == masks.value("ring", FULL) and mask[
        36, left + side + 3
    ] == masks.value("square", FULL)
    red = np.asarray(render.render(replace(sample, things=(back,)))).astype(int)
    covered = np.asarray(masks.mask(replace(sample, things=(back,)), FULL)) == masks.value(
        "square", FULL
    )
    assert (red[covered][:, 0] > red[covered][:, 2] + 30).all()


def member(mode: str = "L", size: tuple[int, int] = (6, 4), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 1).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [True, False])
def test_images_without_masks_and_masks_without_images_are_rejected(tmp_path, packed):
    members = {
        "images/training/ADE_train_00000001.jpg": b"p1",
        "annotations/training/ADE_train_00000001.png": b"m1",
        "images/training/ADE_train_00000002.jpg": b"p2",
        "annotations/training/ADE_train_00000003.png": b"m3",
        "images/validation/ADE_val_00000001.jpg": b"p4",
        "annotations/validation/ADE_val_00000001.png": b"m4",
        "images/validation/.DS_Store": b"",
        "objectInfo150.txt": b"",
    }
    if packed:
        with zipfile.ZipFile(tmp_path / "ADEChallengeData2016.zip", "w") as archive:
            for name, data in reversed(members.items()):
                archive.writestr(f"ADEChallengeData2016/{name}", data)
    else:
        for name, data in members.items():
            path = tmp_path / "ADEChallengeData2016" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    assert len(ade20k.files(tmp_path)) == (1 if packed else 7)  # without the hidden one
    assert list(record_reader.read("ade20k", tmp_path)) == [
        MaskRecord("ADE_train_00000001", "train", b"p1", b"m1"),
        Rejected("ADE_train_00000002", "missing annotation"),
        Rejected("ADE_train_00000003", "missing image"),
        MaskRecord("ADE_val_00000001", "val", b"p4", b"m4"),
    ]


def test_wrong_masks_are_counted_or_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "ADEChallengeData2016.zip", "w") as archive:
        for number, mask in enumerate((member(), member(size=(4, 6)), member("RGB"), b"no image")):
            archive.writestr(
                f"ADEChallengeData2016/images/training/ADE_train_{number}.jpg",
                member("RGB", kind="JPEG"),
            )
            archive.writestr(
                f"ADEChallengeData2016/annotations/training/ADE_train_{number}.png", mask
            )
    shard("ade20k", tmp_path, tmp_path / "out", ImageShardParams(8, 8, 0.0, 0))
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["splits"]["train"]["rows"] == 1 and sum(index["rejected"].values()) == 3
    with pytest.raises(UserError, match="mask ADE_7: class 1, but the head has 0"):
        decoded_mask(member(), 0, "ADE_7")
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "out")):
        ade20k.files(tmp_path / "out")


@real_data.needs("ade20k")
def test_a_real_image_and_its_mask(tmp_path):
    (record,) = record_reader.read("ade20k", REAL)
    assert (record.key, record.split) == ("ADE_val_00000001", "val")
    assert shard("ade20k", REAL, tmp_path, ImageShardParams(8, 8, 0.0, 0)) == {
        "val": 1,
        "rejected": 0,
    }
    mask = decoded_mask(record.mask, 150, record.key)
    assert mask.shape == (512, 683) and mask.max() == 18


# Augmentation


def test_the_zero_label_is_ignored_and_255_stays():
    assert training_labels(np.array([[0, 1, 150]], np.uint8)).tolist() == [[255, 0, 149]]


@pytest.mark.parametrize("resize_filter", ["bicubic", "opencv"])
def test_image_and_labels_stay_aligned(resize_filter):
    rng, still = np.random.default_rng(0), replace(AUGMENT, photometric=STILL)
    labels = np.kron(rng.integers(0, 4, size=(5, 7)), np.ones((20, 20))).astype(np.uint8)
    image = Image.fromarray(np.stack([labels * 60, labels * 20, 250 - labels * 80], axis=2))
    for _ in range(30):
        pixels, cropped = augment.augmented(
            image, labels, 48, (200, 60), resize_filter, still, (1, 2, 3), rng
        )
        assert (
            pixels.shape == (48, 48, 3)
            and cropped.shape == (48, 48)
            and pixels.dtype == cropped.dtype == np.uint8
        )
        inside = cropped != 255
        expected = np.stack([cropped * 60, cropped * 20, 250 - cropped * 80], axis=2).astype(
            np.uint8
        )
        close = (np.abs(pixels.astype(int) - expected) < 12).all(
            axis=2
        )  # all but the blurred edges of the squares
        assert close[inside].mean() > 0.6 and (pixels[~inside] == (1, 2, 3)).all()


def test_images_are_fitted_into_both_sides():
    assert resize.fitted((683, 512), (2048, 512), 1.0) == (683, 512)
    assert resize.fitted((300, 100), (2048, 512), 0.5) == (768, 256)
    assert resize.fitted((4000, 400), (2048, 512), 1.0) == (2048, 205)
    assert resize.fitted((683, 512), (2048, 512), 0.5, shortest=512) == (683, 512)
    assert resize.fitted((682, 512), (2560, 640), 1.0) == (852, 640)  # of 852.5
    assert resize.fitted((682, 512), (2560, 640), 1.0, "opencv") == (853, 640)


@pytest.mark.parametrize(
    ("size", "expected"),  # by OpenCV 5.0
    [
        ((4, 3), [[200, 17, 255, 90], [0, 131, 64, 250], [77, 255, 3, 180]]),
        (
            (7, 4),
            [
                [200, 135, 30, 136, 243, 149, 90],
                [75, 80, 87, 112, 139, 171, 190],
                [29, 82, 167, 109, 54, 159, 224],
                [77, 140, 242, 129, 15, 117, 180],
            ],
        ),
        ((3, 2), [[132, 126, 143], [85, 121, 168]]),
        ((2, 5), [[108, 172], [91, 166], [66, 157], [126, 118], [166, 91]]),
    ],
)
def test_the_bilinear_filter_is_opencvs(size, expected):
    pixels = np.array([[200, 17, 255, 90], [0, 131, 64, 250], [77, 255, 3, 180]], np.uint8)
    image = Image.fromarray(np.repeat(pixels[..., None], 3, axis=2))
    found = resize.resized(image, size, "opencv")
    assert found.dtype == np.uint8 and found.shape == (size[1], size[0], 3)
    assert all(found[..., color].tolist() == expected for color in range(3))


def test_crops_avoid_a_single_class():
    labels = np.zeros((40, 40), np.uint8)
    labels[:, 30:] = 1
    rng = np.random.default_rng(0)
    crops = [labels[augment.crop(labels, 16, 0.75, rng)] for _ in range(200)]
    mixed = np.mean([0.25 < crop.mean() < 0.75 for crop in crops])
    naive = np.mean(
        [0.25 < labels[augment.crop(labels, 16, 1.1, rng)].mean() < 0.75 for _ in range(200)]
    )
    assert mixed > 0.9 and naive < 0.7
    assert labels[augment.crop(np.zeros_like(labels), 16, 0.75, rng)].shape == (
        16,
        16,
    )  # gives up in the end


def test_photometric_distortion_changes_colors_within_bounds_and_nothing_else():
    pixels = np.full((4, 4, 3), 120, np.uint8)
    rng = np.random.default_rng(0)
    bright = [augment.photometric(pixels, replace(STILL, brightness=32.0), rng) for _ in range(100)]
    assert 0.3 < np.mean([(image == pixels).all() for image in bright]) < 0.7
    assert all(88 <= image.min() == image.max() <= 152 for image in bright)
    red = np.zeros((1, 1, 3), np.uint8) + np.array([200, 20, 20], np.uint8)
    turned = np.array(
        [augment.photometric(red, replace(STILL, hue=0.1), rng)[0, 0] for _ in range(50)]
    )
    assert (turned[:, 0] >= 198).all() and turned[:, 1:].max() > 60
    np.testing.assert_array_equal(augment.photometric(pixels, STILL, rng), pixels)


# Scores


def reference_miou(predicted: list[np.ndarray], truth: list[np.ndarray], classes: int) -> float:
    """Sets of pixels, class by class."""
    values = []
    for number in range(1, classes + 1):
        claimed_pixels = {
            (i, *p)
            for i, (a, t) in enumerate(zip(predicted, truth, strict=True))
            for p in np.ndindex(a.shape)
            if a[p] == number and t[p] != 0
        }
        true = {(i, *p) for i, t in enumerate(truth) for p in np.ndindex(t.shape) if t[p] == number}
        values.append(
            len(claimed_pixels & true) / len(claimed_pixels | true)
            if claimed_pixels | true
            else 0.0
        )
    return sum(values) / classes


def test_miou_is_that_of_a_straightforward_reference():
    rng = np.random.default_rng(0)
    truth = [
        rng.choice([0, 1, 2, 3, 5], size=(9, 11)) for _ in range(4)
    ]  # class 4 is only ever predicted, 6 never
    predicted = [
        np.where(rng.random(t.shape) < 0.5, t.clip(1), rng.integers(1, 6, size=t.shape))
        for t in truth
    ]
    total = sum(metrics.areas(p, t, 6) for p, t in zip(predicted, truth, strict=True))
    assert metrics.scores(total)["miou"] == pytest.approx(reference_miou(predicted, truth, 6))
    hits = sum(((p == t) & (t > 0)).sum() for p, t in zip(predicted, truth, strict=True))
    assert metrics.scores(total)["pixel_accuracy"] == pytest.approx(
        hits / sum((t > 0).sum() for t in truth)
    )
    assert metrics.ious(total)[5] == 0 and metrics.ious(total)[3] == 0


def test_an_absent_class_counts_zero():
    truth = np.array([[1, 2, 0]])
    assert (
        metrics.scores(metrics.areas(np.array([[1, 2, 3]]), truth, 4))["miou"] == 0.5
    )  # perfect, on two of four classes


def test_baselines_are_what_their_predictions_score():
    rng = np.random.default_rng(0)
    truth = rng.choice(6, p=(0.1, 0.4, 0.2, 0.15, 0.15, 0), size=(600, 600))
    total = metrics.areas(truth.clip(1), truth, 5)
    assert predict.majority(total) == pytest.approx(
        metrics.scores(metrics.areas(np.ones_like(truth), truth, 5))
    )
    random = metrics.scores(metrics.areas(rng.integers(1, 6, size=truth.shape), truth, 5))
    assert predict.chance(total) == pytest.approx(random, abs=0.003)


def test_the_standard_error_is_the_spread_over_samples_of_images():
    rng = np.random.default_rng(0)

    def areas(count):
        truth = rng.integers(1, 4, size=(count, 30))
        good = rng.random((count, 1)) < 0.7
        return np.stack(
            [
                metrics.areas(np.where(g | (rng.random(30) < 0.2), t, 1), t, 3)
                for t, g in zip(truth, good, strict=True)
            ]
        )

    spread = np.std([metrics.scores(areas(50).sum(axis=0))["miou"] for _ in range(200)])
    claimed = np.mean([predict.standard_error(areas(50)) for _ in range(40)])
    assert claimed == pytest.approx(spread, rel=0.2)


# Sliding windows


def how(window=8, stride=5, ratios=(1.0,), flip=False, resize_filter="bicubic"):
    return sliding_window.WindowParams(
        window, stride, (40, window), resize_filter, list(ratios), flip, batch=3
    )


def test_window_starts():
    assert sliding_window.starts(512, 512, 341) == [0] == sliding_window.starts(300, 512, 341)
    assert sliding_window.starts(683, 512, 341) == [0, 171]
    assert sliding_window.starts(2048, 512, 341) == [0, 341, 682, 1023, 1364, 1536]
    assert sliding_window.starts(853, 512, 341) == [0, 341]


def test_one_window_is_the_plain_forward():
    convolution = nn.Conv2d(3, 2, 3, padding=1).requires_grad_(False)
    pixels = torch.rand(3, 8, 8)
    torch.testing.assert_close(
        *sliding_window.slide(convolution, [pixels], how()), convolution(pixels[None])[0]
    )


def test_overlaps_are_averaged_and_short_sides_filled_up():
    def predict(windows):  # something that depends on the position within the window
        return torch.cat([windows[:, :2] * torch.arange(8.0), windows[:, 2:]], dim=1)

    pixels = torch.rand(3, 6, 17)
    total, count = torch.zeros(3, 8, 17), torch.zeros(8, 17)
    padded = torch.cat([pixels, torch.zeros(3, 2, 17)], dim=1)
    for left in (0, 5, 9):
        total[:, :, left : left + 8] += predict(padded[None, :, :, left : left + 8])[0]
        count[:, left : left + 8] += 1
    torch.testing.assert_close(
        *sliding_window.slide(predict, [pixels], how()), (total / count)[:, :6]
    )


def test_windows_of_several_images_share_batches_and_each_gets_what_it_gets_alone():
    convolution, batches = nn.Conv2d(3, 2, 3, padding=1).requires_grad_(False), []

    def predict(windows):
        batches.append(len(windows))
        return convolution(windows)

    batch = [torch.rand(3, height, width) for height, width in ((8, 17), (6, 8), (13, 11), (8, 8))]
    together = list(sliding_window.slide(predict, batch, how()))
    assert batches == [3, 3, 3]  # windows: 3, 1, 4, 1
    for pixels, found in zip(batch, together, strict=True):
        torch.testing.assert_close(found, *sliding_window.slide(convolution, [pixels], how()))


def test_images_that_are_left_out_change_no_batch_behind_them():
    convolution, batches = nn.Conv2d(3, 2, 3, padding=1).requires_grad_(False), []

    def predict(windows):
        batches.append(windows)
        return convolution(windows)

    inputs = [torch.rand(3, height, width) for height, width in ((8, 17), (6, 8), (13, 11), (8, 8))]
    together = list(sliding_window.slide(predict, inputs, how()))
    every, batches = batches, []
    rest = list(sliding_window.slide(predict, inputs, how(), first=2))
    assert len(every) == 3 and len(batches) == 2  # windows: 3, 1, 4, 1
    assert all(torch.equal(*pair) for pair in zip(batches, every[1:], strict=True))
    assert all(torch.equal(*pair) for pair in zip(rest, together[2:], strict=True))


class Colors(nn.Module):
    """Says of each pixel which of the three colors is strongest."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(9.0))

    def logits(self, pixels):
        assert pixels.shape[2:] == (8, 8)
        return pixels * self.scale


@pytest.mark.parametrize("resize_filter", ["bicubic", "opencv"])
@pytest.mark.parametrize(("ratios", "flip"), [([1.0], False), ([0.5, 1.0, 1.75], True)])
def test_predicted_masks_have_the_size_of_the_image(ratios, flip, resize_filter):
    truth = np.kron(np.array([[1, 2, 3], [3, 1, 2]]), np.ones((20, 20))).astype(np.uint8)
    image = Image.fromarray(np.eye(4, dtype=np.uint8)[truth][..., 1:] * 255)
    labeled = [LabeledImage(name, image, truth) for name in "ab"]
    (_, found), (second, again) = sliding_window.segment(
        Colors(), labeled, how(ratios=ratios, flip=flip, resize_filter=resize_filter)
    )
    assert second is labeled[1] and np.array_equal(found, again)
    assert found.shape == (40, 60) and found.dtype == np.uint8
    assert (found == truth).mean() > 0.85


# Model


def model(config=TINY):
    torch.manual_seed(0)
    return Segmentation(SegmentationConfig(config, HEAD))


def test_shapes_and_which_parameters_learn():
    net = model()
    pixels, labels = torch.rand(2, 3, 32, 32) * 2 - 1, torch.randint(0, CLASSES, (2, 32, 32))
    assert [tuple(x.shape) for x in net.pyramid(pixels)] == [
        (2, 16, side, side) for side in (16, 8, 4, 2)
    ]
    losses = net(pixels, labels, torch.rand(2, 4, 3), torch.rand(2, 14))
    assert losses.keys() == {"decode", "auxiliary"}
    sum(losses.values()).backward()
    learned = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert learned == {
        name for name, parameter in net.named_parameters() if parameter.requires_grad
    }
    assert net.eval().logits(pixels).shape == (2, CLASSES, 32, 32)


def test_layers_must_end_with_the_last_block():
    for layers in ([0, 1, 2], [0, 1, 2, 4], [1, 0, 2, 3], [-1, 1, 2, 3]):
        with pytest.raises(ValueError, match="layers: expected 4 blocks in order, the last 3"):
            SegmentationConfig(TINY, replace(HEAD, layers=layers))


def test_a_model_without_a_text_half_gives_the_same():
    pixels = torch.rand(2, 3, 32, 32)
    for config in (TINY, replace(TINY, relative_bias=True, layer_scale=0.1)):
        whole = model(config).eval()
        half = Segmentation(SegmentationConfig(config, HEAD, text=False)).eval()
        missing, _ = half.load_state_dict(whole.state_dict(), strict=False)
        assert not missing and torch.equal(half.logits(pixels), whole.logits(pixels))
        names = [name for name, parameter in whole.named_parameters() if parameter.requires_grad]
        assert names == [name for name, p in half.named_parameters() if p.requires_grad]


@pytest.mark.parametrize("kind", ["pretrained", "imagenet1k"])
def test_a_fine_tune_from_a_released_beit_has_no_text_half_either(folders, tmp_path, kind):
    base = replace(beit.BASE, image_size=16, patch_size=8, depth=4, embed_dim=16, num_heads=2)
    backbone = beit.backbone_config(kind, replace(base, mlp_dim=32))
    synthetic_beit.write(tmp_path / "file.pth", kind, backbone, 3, seed=1)
    names = ("a", "b", "c") if kind == "imagenet1k" else ()
    checkpoint.save(
        beit.read(state_dict.read(tmp_path / "file.pth"), kind, backbone, names), tmp_path / "model"
    )
    job = task.Task(tuned(), runner.backbone_config(tmp_path / "model"), folders)
    report = checkpoint.load_backbone(job.model.backbone, tmp_path / "model")
    assert not report.missing and all("image_table" in name for name in report.resized)
    assert report.resized and job.model.config.backbone.image_size == 32
    assert not [name for name, _ in job.model.named_parameters() if "text" in name]
    batch = job.batches[MicroBatch(0)]
    assert all(loss.isfinite() for loss in job.loss(job.model, batch).values())


def test_the_loss_leaves_out_ignored_pixels():
    logits, labels = torch.randn(2, 5, 6, 6), torch.randint(0, 5, (2, 6, 6))
    labels[:, :2] = 255
    loss = pixel_loss(logits, labels)
    kept = logits.log_softmax(1).permute(0, 2, 3, 1)[:, 2:].reshape(-1, 5)
    torch.testing.assert_close(loss, -kept[range(48), labels[:, 2:].flatten()].sum())


def test_channel_dropout_is_decided_by_the_draws():
    x, noise = torch.ones(2, 3, 2, 2), torch.tensor([[0.0, 0.5, 0.9], [0.24, 0.26, 0.1]])
    dropped = drop_channels(x, 0.25, noise)
    torch.testing.assert_close(
        dropped[:, :, 1, 0], torch.tensor([[0, 4 / 3, 4 / 3], [0, 4 / 3, 0]])
    )
    assert drop_channels(x, 0.25, None) is x


def test_synchronised_batch_norms_are_the_same_model():
    net, pixels = model().eval(), torch.rand(1, 3, 32, 32)
    before, parameters = net.logits(pixels), [*net.parameters()]
    nn.SyncBatchNorm.convert_sync_batchnorm(net)  # what the loop does on several GPUs: in place
    assert any(isinstance(module, nn.SyncBatchNorm) for module in net.modules())
    assert all(new is old for new, old in zip(net.parameters(), parameters, strict=True))
    torch.testing.assert_close(net.logits(pixels), before)


def test_saved_and_loaded(tmp_path):
    net = model().train()
    net(
        torch.rand(2, 3, 32, 32),
        torch.zeros(2, 32, 32, dtype=torch.long),
        torch.rand(2, 4, 3),
        torch.rand(2, 14),
    )
    save(net, tmp_path)
    again, pixels = load(tmp_path), torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(again.logits(pixels), net.eval().logits(pixels))
    assert again.config == net.config


# Task


def tuned():
    return task.FineTuneParams(
        steps=2,
        lr=1e-3,
        min_lr=0.0,
        warmup_steps=1,
        schedule="linear",
        weight_decay=0.05,
        betas=[0.9, 0.999],
        eps=1e-8,
        max_grad_norm=0.0,
        head_lr_mult=1.0,
        layer_decay=0.9,
        seed=1,
        drop_path=0.1,
        inputs=INPUTS,
        head=HEAD,
        loss_weights=task.LossWeightParams(decode=1.0, auxiliary=0.4),
        evaluation_batch=4,
        evaluation_images=2,
        loop=LoopParams("fp32", 1, "ddp", False, 0, 1, 2, 2, 3),
        num_workers=0,
        threads=1,
    )


def test_batches_are_a_function_of_the_step(folders):
    first, second = (
        CropBatches(folders.shards, INPUTS, SegmentationConfig(TINY, HEAD), seed=1)
        for _ in range(2)
    )
    second[MicroBatch(0)]
    for values, same in zip(first[MicroBatch(3)], second[MicroBatch(3)], strict=True):
        torch.testing.assert_close(values, same)
    batch = first[MicroBatch(3)]
    assert {name: tuple(values.shape) for name, values in batch._asdict().items()} == {
        "pixels": (4, 32, 32, 3),
        "labels": (4, 32, 32),
        "drop_path_noise": (4, 4, 3),
        "dropout_noise": (4, 14),
    }
    assert set(np.unique(batch.labels)) <= {*range(CLASSES), 255}


def test_pixels_are_normalized_by_the_statistics_of_the_configuration(folders):
    half, imagenet = (
        Segmentation(SegmentationConfig(TINY, HEAD, name)).eval() for name in ("half", "imagenet")
    )
    imagenet.load_state_dict(half.state_dict())
    pixels = torch.rand(2, 3, 32, 32)
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    torch.testing.assert_close(imagenet.logits(2 * pixels - 1), half.logits((pixels - mean) / std))
    assert CropBatches(folders.shards, INPUTS, imagenet.config, seed=1).filling == (
        124,
        116,
        104,
    )  # 0 afterwards
    assert CropBatches(folders.shards, INPUTS, half.config, seed=1).filling == (128, 128, 128)
    assert SegmentationConfig.from_dict(asdict(imagenet.config)) == imagenet.config


def test_training_and_evaluation_run_through(folders, tmp_path):
    params = tuned()
    torch.manual_seed(1)
    job = task.Task(params, replace(TINY, image_size=48), folders)
    train(job, params, params.loop, tmp_path / "work", Run(None))
    rows = [
        json.loads(line) for line in (tmp_path / "work" / "curve.jsonl").read_text().splitlines()
    ]
    assert {"decode", "auxiliary"} <= rows[0]["values"].keys()
    assert rows[-1]["values"].keys() == {"miou", "pixel_accuracy"}
    assert not list((tmp_path / "work").glob("best-*.pt")), "nothing is selected on the test split"
    assert job.model.config.backbone.image_size == 32
    names, inputs = ",".join(masks.classes(FULL)), tuned().inputs
    params = predict.EvaluateParams("val", [1.0, 1.5], True, names, 4, 1, "fp32")
    for name in ("one", "two", "kept"):
        (tmp_path / name).mkdir()

    def evaluated(maps):
        return predict.evaluate(job.model, only_tested, inputs, params, tmp_path / "two", maps)

    # it needs no training images
    only_tested = replace(folders, shards=without_training(folders.shards, tmp_path / "shards"))
    results = [
        predict.evaluate(job.model.eval(), folders, inputs, params, tmp_path / "one"),
        resumed(evaluated, tmp_path / "kept"),
    ]
    assert results[0] == results[1] == json.loads(json.dumps(results[0]))
    assert (
        results[0]["images"] == 5
        and 0 <= results[0]["miou"] <= 1
        and results[0]["standard_error"] > 0
    )
    assert predict.headline(results[0])["score"] == results[0]["miou"]
    check_predictions(tmp_path / "one", results[0])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def check_predictions(folder: Path, result: dict) -> None:
    lines = (folder / "classes.csv").read_text().splitlines()
    assert (
        lines[0] == "class,name,iou,share"
        and lines[1].startswith("1,circle,")
        and len(lines) == 1 + CLASSES
    )
    assert np.mean([float(line.split(",")[2]) for line in lines[1:]]) == pytest.approx(
        result["miou"], abs=1e-5
    )
    assert Image.open(folder / "overlays.png").width > 500
    with zipfile.ZipFile(folder / "predictions.zip") as archive:
        assert len(archive.namelist()) == 5
        mask = np.asarray(Image.open(io.BytesIO(archive.read("ADE_val_00000001.png"))))
    assert mask.min() >= 1 and mask.max() <= CLASSES


def test_settings_that_cannot_work_are_named(folders):
    params = tuned()
    with pytest.raises(UserError, match="params.yaml: head.layers: expected 4 blocks"):
        task.Task(replace(params, head=replace(HEAD, layers=[0, 1, 2, 7])), TINY, folders)
    few = predict.EvaluateParams("val", [1.0], False, "circle", 4, 1, "fp32")
    with pytest.raises(UserError, match=f"names: expected {CLASSES} names"):
        predict.evaluate(model(), folders, params.inputs, few, folders.shards)
