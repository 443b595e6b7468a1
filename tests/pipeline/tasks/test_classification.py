"""ImageNet: official files to labels, augmentation with keyed draws, the head, one short
fine-tune."""

import csv
import io
import random
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.backbone.config import BackboneConfig
from model.heads.classification import Classification, ClassificationConfig
from pipeline.data.datasets import imagenet1k
from pipeline.data.loading.sampler import MicroBatch, OrderParams
from pipeline.data.records import ImageRecord, Rejected
from pipeline.data.sharding import build, record_reader
from pipeline.data.shards import parquet
from pipeline.data.synthetic import generate
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render, scene
from pipeline.data.synthetic.writers import imagenet1k as writer
from pipeline.data.synthetic.writers import imagenet22k
from pipeline.data.transforms.views import ViewParams
from pipeline.errors import UserError
from pipeline.tasks import Folders
from pipeline.tasks.classification.predict import (
    EvaluateParams,
    evaluate,
    headline,
    training_classes,
)
from pipeline.tasks.classification.training import metrics
from pipeline.tasks.classification.training.augment import (
    ErasingParams,
    MixingParams,
    drawing_from,
    mixing,
    rand_augment,
)
from pipeline.tasks.classification.training.data import (
    ImageBatches,
    InputParams,
    center_crop,
    smoothed,
)
from pipeline.tasks.classification.training.task import FineTuneParams, Task
from pipeline.tracking.client import Run
from pipeline.training.loop import LoopParams, train
from pipeline.utils import files
from tests.helpers.interrupted import resumed, without_training
from tests.helpers.official_forms import tar_bytes
from tests.helpers.toy import BACKBONE
from tests.helpers.worlds import FULL, POOR

CLASSES = 6
SIZES = {"imagenet1k": {"classes": CLASSES, "train": 8, "val": 2}}
SYNTHETIC = SyntheticParams(seed=3, image_size=40, jpeg_quality=85, sizes=SIZES, world=FULL)
INPUTS = InputParams(
    image_size=16,
    resize=18,
    crop=ViewParams([0.3, 1.0], 0.5, 0.0),
    rand_augment="rand-m9-mstd0.5-inc1",
    erasing=ErasingParams(0.5, "pixel", 1),
    mixing=MixingParams(0.8, 1.0, 1.0, 0.5),
    label_smoothing=0.1,
    order=OrderParams(2, 2, 8),
)
LOOP = LoopParams(
    "fp32",
    1,
    "ddp",
    False,
    0,
    log_every=1,
    evaluate_every=2,
    checkpoint_every=2,
    max_nonfinite_steps=2,
)


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    """The generated official files."""
    folder = tmp_path_factory.mktemp("imagenet1k")
    generate.write("imagenet1k", folder, SYNTHETIC)
    return folder


@pytest.fixture(scope="module")
def folder(official, tmp_path_factory) -> Path:
    """Their shards."""
    out = tmp_path_factory.mktemp("shards") / "imagenet1k"
    build.shard("imagenet1k", official, out, build.ImageShardParams(4, 4, 0.0, 0))
    return out


def test_the_generated_files_are_read_with_their_labels(official):
    records = list(record_reader.read("imagenet1k", official))
    kinds = dict(list(writer.classes(FULL).items())[:CLASSES])
    label = {wnid: index for index, wnid in enumerate(sorted(kinds))}
    training = [record for record in records if record.split == "train"]
    assert all(record.label == label[record.key.partition("_")[0]] for record in training)
    val = [record for record in records if record.split == "val"]
    assert [record.key for record in val] == [
        f"ILSVRC2012_val_{n:08d}" for n in range(1, 2 * CLASSES + 1)
    ]
    for (
        wnid,
        kind,
    ) in kinds.items():  # the images are those of the class, in the order in which they were drawn
        expected = [
            render.jpeg(sample, 85)
            for sample in islice(writer.scenes(wnid, kind, "val", SYNTHETIC), 2)
        ]
        assert [record.image for record in val if record.label == label[wnid]] == expected


def test_training_and_validation_scenes_are_apart_and_of_their_class():
    for wnid, (shape, look) in list(writer.classes(FULL).items())[:4]:
        training, val = (
            list(islice(writer.scenes(wnid, (shape, look), part, SYNTHETIC), 5))
            for part in ("train", "val")
        )
        assert not any(map(scene.is_evaluation, training)) and all(map(scene.is_evaluation, val))
        things = [sample.things[0] for sample in training + val]
        assert all(
            thing.shape == shape and look in (thing.color, thing.texture) for thing in things
        )


def test_some_classes_are_those_of_imagenet22k():
    classes, larger = writer.classes(FULL), imagenet22k.classes(FULL)
    shared = set(classes) & set(larger)
    assert len(classes) == 60 and len(shared) == 45
    assert all(classes[wnid] == larger[wnid] for wnid in shared)


def test_first_classes_are_colors_and_textures_by_turns():
    looks = list(writer.classes(FULL).values())
    assert looks[:4] == [
        ("circle", "red"),
        ("heart", "striped"),
        ("square", "green"),
        ("cross", "striped"),
    ]
    assert Counter(shape for shape, _ in looks[:30]) == dict.fromkeys(FULL.shapes, 3)
    assert len(writer.classes(POOR)) == 3 * 6 + 3 * 2


def test_the_same_official_bytes_again(official, tmp_path):
    generate.write("imagenet1k", tmp_path, SYNTHETIC)
    assert len(list(official.iterdir())) == 3
    assert all(
        (tmp_path / path.name).read_bytes() == path.read_bytes() for path in official.iterdir()
    )


def test_too_many_classes_are_refused(tmp_path):
    sizes = {"imagenet1k": {"classes": 61, "train": 1, "val": 1}}
    with pytest.raises(UserError, match="imagenet1k.classes: at most 60"):
        generate.write("imagenet1k", tmp_path, replace(SYNTHETIC, sizes=sizes))


def test_shards_hold_the_usual_oddities(folder):
    index = files.read_json(folder / "index.json")
    assert (
        index["rejected"] == {"damaged image": 1} and index["splits"]["val"]["rows"] == 2 * CLASSES
    )
    formats = {
        Image.open(io.BytesIO(row["image"])).format
        for row in parquet.read_rows(folder, "train", ("image",))
    }
    modes = {
        Image.open(io.BytesIO(row["image"])).mode
        for row in parquet.read_rows(folder, "train", ("image",))
    }
    assert formats == {"JPEG", "PNG"} and modes == {"RGB"}  # the CMYK one has been converted


def write_by_hand(root, truth="2\n1\n2\n", meta=None, **extra):
    """Two classes below one synset, whose devkit ids are against the order of their names; three
    val images."""
    from scipy.io import savemat

    fields = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "num_children")]
    table = np.array(
        [(1, "n09", "pond", 0), (2, "n03", "lamp", 0), (3, "n01", "entity", 2)], dtype=fields
    )
    savemat(buffer := io.BytesIO(), {"synsets": table[:, None]})
    inner = {"n09.tar": tar_bytes({"n09_5.JPEG": b"a"}), "n03.tar": tar_bytes({"n03_7.JPEG": b"b"})}
    (root / "ILSVRC2012_img_train.tar").write_bytes(tar_bytes(inner | extra.get("train", {})))
    names = extra.get("val", (3, 1, 2))
    val = {f"ILSVRC2012_val_{n:08d}.JPEG": b"v%d" % n for n in names}
    (root / "ILSVRC2012_img_val.tar").write_bytes(tar_bytes(val))
    data = "ILSVRC2012_devkit_t12/data"
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(
        tar_bytes(
            {
                f"{data}/meta.mat": meta or buffer.getvalue(),
                f"{data}/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
            },
            "w:gz",
        )
    )


def test_devkit_ids_become_places_in_sorted_order(tmp_path):
    write_by_hand(tmp_path)
    assert len(imagenet1k.files(tmp_path)) == 3
    assert list(record_reader.read("imagenet1k", tmp_path)) == [
        ImageRecord("n09_5", "train", b"a", (), 1),
        ImageRecord("n03_7", "train", b"b", (), 0),
        ImageRecord("ILSVRC2012_val_00000003", "val", b"v3", (), 0),
        ImageRecord("ILSVRC2012_val_00000001", "val", b"v1", (), 0),
        ImageRecord("ILSVRC2012_val_00000002", "val", b"v2", (), 1),
    ]


def test_what_does_not_fit_together_is_rejected(tmp_path):
    train = {"n01.tar": tar_bytes({"n01_1.JPEG": b"x"}), "n03.tar": b"rubbish" * 200}
    write_by_hand(tmp_path, train=train, val=(1, 2, 9))
    rejected = [
        record
        for record in record_reader.read("imagenet1k", tmp_path)
        if isinstance(record, Rejected)
    ]
    assert rejected[0].key == "n03" and rejected[0].reason.startswith("damaged tar")
    assert rejected[1:] == [
        Rejected("n01", "unknown synset"),
        Rejected("ILSVRC2012_val_00000009", "no ground truth"),
        Rejected("ILSVRC2012_val_00000003", "missing image"),
    ]


@pytest.mark.parametrize(
    "fault, message",
    [
        ({"truth": "1\n3\n"}, "ground_truth.txt: line 2: no class has the id 3"),
        ({"truth": "1\nx\n"}, "line 2: no class has the id x"),
        ({"meta": b"MATLAB 5.0 MAT-file".ljust(400)}, "meta.mat: not the devkit's table"),
    ],
)
def test_a_damaged_devkit_is_named(tmp_path, fault, message):
    write_by_hand(tmp_path, **fault)
    with pytest.raises(UserError, match=message):
        list(record_reader.read("imagenet1k", tmp_path))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="ILSVRC2012_img_train.tar"):
        imagenet1k.files(tmp_path)


def test_the_global_batch_does_not_depend_on_how_it_is_cut(folder):
    batches = ImageBatches(folder, INPUTS, CLASSES, depth=2, seed=1)
    whole = batches[MicroBatch(3)]
    shares = []
    for index in (0, 1):
        other = ImageBatches(folder, INPUTS, CLASSES, depth=2, seed=1)
        random.seed(index)
        torch.manual_seed(index)
        shares.append(other[MicroBatch(3, index, 2)])
    for value, *parts in zip(whole, *shares, strict=True):
        torch.testing.assert_close(value, torch.cat(parts), rtol=0, atol=0)
    assert whole.pixels.shape == (8, 3, 16, 16) and whole.drop_path_noise.shape == (8, 2, 3)
    torch.testing.assert_close(whole.targets.sum(dim=1), torch.ones(8))
    other = ImageBatches(folder, INPUTS, CLASSES, depth=2, seed=2)[MicroBatch(3)]
    assert not torch.equal(whole.pixels, other.pixels)


def test_targets_follow_the_mixed_images():
    """Images of constant color: the share of a color in the mixed image is its share in the
    target."""
    pixels = torch.arange(4.0)[:, None, None, None].expand(4, 3, 32, 32).clone()
    for number, params in enumerate(
        (MixingParams(0.8, 0.0, 1.0, 0.5), MixingParams(0.0, 1.0, 1.0, 0.5))
    ):
        with drawing_from(5, number):
            mixed, targets = mixing(params, 0.0, 4)(pixels.clone(), torch.arange(4))
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), targets @ torch.arange(4.0))
        assert 0 < targets[0, 3] < 1


@pytest.mark.parametrize(
    "off", [MixingParams(0.0, 0.0, 1.0, 0.5), MixingParams(0.8, 1.0, 0.0, 0.5)]
)
def test_without_mixing_targets_are_smoothed_labels(off):
    assert mixing(off, 0.1, 5) is None
    targets = smoothed(torch.tensor([0, 4, 2, 2]), 0.1, 5)
    torch.testing.assert_close(targets, torch.full((4, 5), 0.02) + 0.9 * torch.eye(5)[[0, 4, 2, 2]])


def test_keyed_draws_leave_the_global_generators_alone():
    def draws():
        return random.random(), np.random.rand(), torch.rand(1).item()

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draws(), draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first = draws()
    with drawing_from("key", 1):
        keyed = draws()
    assert (first, draws()) == expected
    with drawing_from("key", 1):
        assert draws() == keyed
    with drawing_from("key", 2):
        assert draws() != keyed


def test_an_unknown_rand_augment_is_refused():
    with pytest.raises(UserError, match="rand_augment: timm does not understand 'auto-m9'"):
        rand_augment("auto-m9", 16)


def test_images_are_mixed_in_pairs(folder):
    with pytest.raises(UserError, match="batch_size / streams is 3, not even"):
        ImageBatches(folder, replace(INPUTS, order=OrderParams(2, 2, 6)), CLASSES, depth=2, seed=1)


def test_a_class_beyond_the_head_is_named(folder):
    with pytest.raises(
        UserError, match=r"the head has 2 classes; see finetune\.imagenet1k\.classes"
    ):
        ImageBatches(folder, INPUTS, 2, depth=2, seed=1)[MicroBatch(0)]


@pytest.mark.parametrize("resize, size", [(256, 224), (384, 384)])
@pytest.mark.parametrize("width, height", [(300, 200), (200, 301), (256, 256)])
def test_evaluation_resizes_the_shorter_side_and_crops_the_center(width, height, resize, size):
    """With a margin at 224 pixels, without one at 384 (BEiT)."""
    x = np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, 3))
    image = Image.fromarray(x.astype(np.uint8))
    cropped = center_crop(image, resize, size)
    assert cropped.shape == (size, size, 3)
    scale = resize / min(width, height)
    wide = int(resize * width / min(width, height))
    columns = (np.arange(size) + round((wide - size) / 2) + 0.5) / scale - 0.5
    np.testing.assert_allclose(cropped[100, :, 0], columns * 255 / (width - 1), atol=1.5)


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(UserError, match="inputs.resize: at least the image_size, 16"):
        replace(INPUTS, resize=15)


def classifier(classes=CLASSES, **changes):
    torch.manual_seed(0)
    return Classification(ClassificationConfig(replace(BACKBONE, **changes), classes)).eval()


def test_the_head_is_a_norm_and_a_small_linear_on_the_mean_of_the_patches():
    net, pixels = classifier(), torch.rand(3, 3, 16, 16)
    (last,) = net.backbone.image_features(pixels, [1])
    mean = last[:, 1:].mean(dim=1)
    norm = (mean - mean.mean(1, keepdim=True)) / (
        mean.var(1, unbiased=False, keepdim=True) + 1e-6
    ).sqrt()
    torch.testing.assert_close(net(pixels), norm @ net.head.weight.T)
    assert not net.head.bias.any()


def test_every_trained_parameter_has_a_gradient():
    net = classifier()
    torch.nn.init.normal_(net.head.weight)
    net(torch.rand(2, 3, 16, 16)).square().sum().backward()
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert trained == {
        name for name, parameter in net.named_parameters() if parameter.grad is not None
    }
    assert not any(
        "text" in name or "mask_token" in name or name.startswith("backbone.norm")
        for name in trained
    )


def test_of_equal_logits_the_first_comes_first_as_in_the_official_counts():
    logits = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [3.0, 2.0, 1.0], [0.0, 5.0, 1.0]])
    ranks = metrics.label_ranks(logits, torch.tensor([0, 1, 0, 0]))
    assert ranks.tolist() == [0, 1, 0, 2]
    assert metrics.accuracy(ranks) == {"acc1": 0.5, "acc5": 1.0}


def test_top_1_of_rounded_logits_is_that_of_argmax():
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(2000, 300, generator=generator)).half().float()
    labels = logits.topk(2).indices[:, torch.randint(2, (), generator=generator)]
    top1 = metrics.accuracy(metrics.label_ranks(logits, labels))["acc1"]
    assert top1 == (logits.argmax(dim=1) == labels).double().mean().item()


def fine_tune_params():
    return FineTuneParams(
        steps=4,
        lr=1e-3,
        min_lr=1e-6,
        warmup_steps=1,
        schedule="cosine",
        weight_decay=0.05,
        betas=[0.9, 0.999],
        eps=1e-8,
        max_grad_norm=0.0,
        head_lr_mult=1.0,
        layer_decay=0.65,
        seed=1,
        drop_path=0.1,
        classes=CLASSES,
        inputs=INPUTS,
        evaluation_batch=5,
        loop=LOOP,
        num_workers=0,
        threads=1,
    )


def test_training_and_evaluation(folder, tmp_path):
    torch.manual_seed(0)
    params, folders = fine_tune_params(), Folders(folder, tmp_path / "none")
    task = Task(params, BackboneConfig(**vars(BACKBONE)), folders)
    before = task.model.backbone.patch_embed.weight.clone()
    (tmp_path / "work").mkdir()
    train(task, params, LOOP, tmp_path / "work", Run(None))
    assert not torch.equal(before, task.model.backbone.patch_embed.weight)
    assert not list((tmp_path / "work").glob("best-*.pt"))  # the last weights stay
    evaluate_params = EvaluateParams("val", 7, 1, "fp32")
    for name in ("one", "two", "kept", "only_tested"):
        (tmp_path / name).mkdir()

    def evaluated(maps):
        return evaluate(task.model, folders, params.inputs, evaluate_params, tmp_path / "two", maps)

    results = [
        evaluate(task.model.eval(), folders, params.inputs, evaluate_params, tmp_path / "one"),
        resumed(evaluated, tmp_path / "kept"),
    ]
    assert results[0] == results[1] and results[0]["images"] == 2 * CLASSES
    assert all(
        (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        for name in ("predictions.csv", "examples.png")
    )
    check_result(results[0], folder, tmp_path / "one")
    # without training images, names come from the model, in the order of its classes
    _, names = training_classes(folder, CLASSES)
    shards = without_training(folder, tmp_path / "shards" / folder.name)
    only_tested = Folders(
        shards, tmp_path / "none", tuple(names[label] for label in range(CLASSES))
    )
    result = evaluate(
        task.model, only_tested, params.inputs, evaluate_params, tmp_path / "only_tested"
    )
    assert result == {key: results[0][key] for key in results[0] if key != "majority"}
    assert headline(result) == headline(results[0])
    for name in ("predictions.csv", "examples.png"):
        assert (tmp_path / "only_tested" / name).read_bytes() == (
            tmp_path / "one" / name
        ).read_bytes()


def check_result(result, folder, out):
    with open(out / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    truth = {row["key"]: row["label"] for row in parquet.read_rows(folder, "val", ("key", "label"))}
    assert {row["key"]: int(row["truth"]) for row in rows} == truth
    assert result["acc1"] == pytest.approx(
        np.mean([row["predicted"] == row["truth"] for row in rows])
    )
    assert result["acc1"] <= result["acc5"] and headline(result)["score"] == result["acc1"]
    assert result["chance"] == {"acc1": 1 / CLASSES, "acc5": 5 / CLASSES}
    assert result["majority"] == {
        "acc1": pytest.approx(1 / 6),
        "acc5": pytest.approx(5 / 6),
    }  # val is balanced
