"""BEiT's and BEiTv2's released files: models with the outputs of the published networks come out, and
others are refused by name."""

import argparse
import math
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image

from model import checkpoint
from model.backbone.vl_beit import VLBeit
from model.heads.classification import Classification, ClassificationConfig
from model.heads.segmentation import Segmentation
from model.normalize import STATISTICS
from model.timm_encoder import ImageEncoder, timm
from pipeline.errors import UserError
from pipeline.inference import predictor
from pipeline.released import beit, state_dict
from pipeline.released.beit import BASE, backbone_config
from pipeline.released.state_dict import shapes_of
from pipeline.released.synthetic import beit as made_up
from tests.helpers.beit_segmentation import Reference
from tests.helpers.doc_examples import run_example
from tests.helpers.relative_error import assert_near
from tests.helpers.released_tokenizers import write_bert

TINY = replace(BASE, image_size=32, patch_size=8, depth=4, embed_dim=16, num_heads=2, mlp_dim=32)
CLASSES = tuple("abcdefg")
TASKS = ("pretrained", "imagenet1k", "ade20k")
SECOND_HEAD = {"cls_pt_layers.0.norm1.weight": torch.ones(16), "cls_pt_norm.bias": torch.ones(16)}


def config(task, image_size=32):
    return replace(backbone_config(task, TINY), image_size=image_size)


def content(tmp_path, task, image_size=32):
    """What a made-up file holds, and its tensors."""
    made_up.write(tmp_path / "made-up.pth", task, config(task, image_size), len(CLASSES), seed=3)
    whole = torch.load(tmp_path / "made-up.pth", weights_only=True)
    return whole, whole["state_dict" if task == "ade20k" else "model"]


def imported(tmp_path, task, whole, image_size=32, family="beit", classes=CLASSES):
    torch.save(whole, tmp_path / "file.pth")
    return beit.read(
        state_dict.read(tmp_path / "file.pth"), task, config(task, image_size), classes, family
    )


def images_in_0_1(image_size=32):
    return torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))


def normalized(images, statistics):
    """Images in 0..1 by the `STATISTICS` of this name."""
    mean, std = torch.tensor(STATISTICS[statistics])[:, None, :, None, None]
    return (images - mean) / std


def timms(task, image_size=32):
    """timm's network, whose tensors have the official names, with seeded weights."""
    torch.manual_seed(0)
    is_pretrained = task == "pretrained"
    model = timm.models.beit.Beit(
        img_size=image_size,
        patch_size=8,
        embed_dim=16,
        depth=4,
        num_heads=2,
        mlp_ratio=2,
        num_classes=0 if is_pretrained else len(CLASSES),
        global_pool="token" if is_pretrained else "avg",
        use_abs_pos_emb=False,
        use_rel_pos_bias=not is_pretrained,
        use_shared_rel_pos_bias=is_pretrained,
        init_values=0.1,
    )
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape) * 0.3
    return model.eval()


@pytest.mark.parametrize("family", ["beit", "beitv2"])
@pytest.mark.parametrize("image_size", [32, 48])
def test_classes_are_those_of_timm(tmp_path, family, image_size):
    network, images = timms("imagenet1k", image_size), images_in_0_1(image_size)
    whole = {"model": network.state_dict()}
    model = imported(tmp_path, "imagenet1k", whole, image_size, family)
    expected = network(normalized(images, {"beit": "half", "beitv2": "imagenet"}[family]))
    assert_near(model(2 * images - 1), expected)
    checkpoint.save(model, tmp_path / "model")
    assert_near(ImageEncoder.from_pretrained(tmp_path / "model")(2 * images - 1), expected)


@pytest.mark.parametrize("family", ["beit", "beitv2"])
def test_a_pretrained_file_gives_an_image_encoder(tmp_path, family):
    network, images = timms("pretrained"), images_in_0_1()
    whole = network.state_dict() | SECOND_HEAD | {"lm_head.weight": torch.ones(5, 16)}
    model = imported(tmp_path, "pretrained", whole, family=family, classes=())
    assert isinstance(model, ImageEncoder) and model.config.backbone.relative_bias
    statistics = {"beit": "half", "beitv2": "imagenet"}[family]
    expected = network.forward_features(normalized(images, statistics))
    assert_near(model(2 * images - 1), expected)


@pytest.mark.parametrize("image_size", [32, 48])
def test_segmentation_is_that_of_the_published_description(tmp_path, image_size):
    whole, tensors = content(tmp_path, "ade20k", image_size)
    model, images = imported(tmp_path, "ade20k", whole, image_size), images_in_0_1(image_size)
    reference, pixels = Reference(tensors), 2 * images - 1
    expected = [reference.logits(image) for image in normalized(images, "imagenet")]
    decoded, auxiliary = (torch.stack(logits) for logits in zip(*expected, strict=True))
    assert_near(model.logits(pixels), decoded)
    assert_near(model.auxiliary_head(model.pyramid(pixels)[2], None), auxiliary)
    assert model.config.head.layers == [0, 1, 1, 3] and model.config.statistics == "imagenet"
    assert beit.head_config(BASE, 150).layers == [3, 5, 7, 11]


@pytest.mark.parametrize(
    ("meta", "names"),
    [
        ({"CLASSES": ("wall", "sky"), "PALETTE": [[1, 2, 3]]}, ("wall", "sky")),
        ({"CLASSES": ["wall"]}, ("wall",)),
        ({"CLASSES": (1, 2)}, ()),
        ({}, ()),
        (None, ()),
    ],
)
def test_names_of_classes_are_the_files(tmp_path, meta, names):
    torch.save({"meta": meta, "state_dict": {"a": torch.ones(1)}}, tmp_path / "file.pth")
    assert beit.class_names(state_dict.read(tmp_path / "file.pth")) == names


def test_numbers_of_the_base_model():
    def numbers(shapes):
        return sum(math.prod(shape) for shape in shapes)

    listed = made_up.shapes("imagenet1k", backbone_config("imagenet1k"), 1000)
    assert numbers(shape for _, shape in listed) == 86_530_984
    model = ClassificationConfig(backbone_config("imagenet1k"), 1000, text=False)
    assert numbers(shapes_of(lambda: Classification(model)).values()) == 86_530_984
    tables = {640: 6244, 512: 3972, 224: 732}
    for image_size, rows in tables.items():
        backbone = replace(backbone_config("ade20k"), image_size=image_size)
        listed = dict(made_up.shapes("ade20k", backbone, 150))
        name = "backbone.blocks.11.attn.relative_position_bias_table"
        assert listed[name] == (rows, 12)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "module", None])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_layout_of_a_file_gives_equal_weights(tmp_path, task, wrapper, prefix, dtype):
    _, tensors = content(tmp_path, task)
    rounded = {name: tensor.to(dtype) for name, tensor in tensors.items()}  # index tables too
    inner = {prefix + name: tensor for name, tensor in rounded.items()}
    beside = {"epoch": 3, "args": argparse.Namespace(lr=1.0), "meta": {"CLASSES": ("wall", "sky")}}
    model = imported(tmp_path, task, {wrapper: inner, **beside} if wrapper else inner)
    expected = imported(tmp_path, task, {name: each.float() for name, each in rounded.items()})
    for name, tensor in model.state_dict().items():
        assert tensor.is_contiguous() and torch.equal(tensor, expected.state_dict()[name]), name
        assert tensor.dtype == torch.float32 or name.endswith("num_batches_tracked")


@pytest.mark.parametrize("task", TASKS)
def test_a_model_folder_comes_out(tmp_path, task):
    whole, _ = content(tmp_path, task)
    model = imported(tmp_path, task, whole)
    checkpoint.save(model, tmp_path / "model")
    loaded = checkpoint.load(tmp_path / "model")
    assert loaded.config == model.config and type(loaded) is type(model)
    assert not [name for name in loaded.state_dict() if "text" in name or "word" in name]
    pixels = 2 * images_in_0_1() - 1
    outputs = [each.logits if task == "ade20k" else each for each in (model, loaded)]
    assert torch.equal(outputs[0](pixels), outputs[1](pixels))


@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_imported_models_are_used_without_texts(tmp_path, with_tokenizer):
    """A tokenizer, such as that of the scale, does not disturb them."""
    tokenizer = write_bert(tmp_path) if with_tokenizer else None
    image = Image.new("RGB", (50, 40), "red")
    for task in ("imagenet1k", "ade20k"):
        whole, _ = content(tmp_path, task)
        imported(tmp_path, task, whole).save_pretrained(tmp_path / task)
    classifier = predictor.load(tmp_path / "imagenet1k", tokenizer)
    assert sum(share for _, share in classifier.classify(image, best=7)) == pytest.approx(1)
    assert predictor.load(tmp_path / "ade20k", tokenizer).segment(image).shape == (32, 32)


def test_a_fine_tune_at_another_resolution_starts_from_a_classifier(tmp_path):
    """As BEiT's segmentation does: the tables of each block are resized."""
    whole, tensors = content(tmp_path, "imagenet1k")
    checkpoint.save(imported(tmp_path, "imagenet1k", whole), tmp_path / "model")
    backbone = VLBeit(config("ade20k", 64), text=False)
    report = checkpoint.load_backbone(backbone, tmp_path / "model")
    tables = [f"blocks.{block}.relative_bias.image_table" for block in range(4)]
    assert report.resized == tables and not report.missing
    for block in range(4):
        table = tensors[f"blocks.{block}.attn.relative_position_bias_table"]
        ours = backbone.blocks[block].relative_bias.image_table
        assert ours.shape == (15**2 + 3, 2) and torch.equal(ours[-3:], table[-3:])
        new, old = ours[:-3].unflatten(0, (15, 15)), table[:-3].unflatten(0, (7, 7))
        torch.testing.assert_close(new[7, 7], old[3, 3])
        # The largest ratio is 1.5, so the old offsets end at 4.75: those from 5 to 7 are clamped.
        torch.testing.assert_close(new[:3, :3], old[:1, :1].expand(3, 3, -1))
        torch.testing.assert_close(new[7, -3:], old[3, -1:].expand(3, -1))


def damaged(tensors):
    """Copies of a segmentation file's tensors with one fault each, and what the message names."""
    block = "backbone.blocks.1"
    shapes = {
        "backbone.cls_token": (1, 16),
        "backbone.patch_embed.proj.weight": (16, 3, 4, 4),
        f"{block}.attn.relative_position_bias_table": (228, 2),
        f"{block}.attn.qkv.weight": (16, 48),
        "backbone.fpn1.0.weight": (16, 16, 3, 3),
        "decode_head.conv_seg.weight": (8, 16, 1, 1),
        "decode_head.bottleneck.conv.weight": (16, 64, 3, 3),
    }
    missing = (
        f"{block}.gamma_2",
        f"{block}.attn.v_bias",
        "backbone.fpn2.0.bias",
        "decode_head.psp_modules.3.1.bn.running_var",
        "decode_head.lateral_convs.2.conv.weight",
        "auxiliary_head.convs.0.bn.weight",
    )
    extra = (
        "backbone.fc_norm.weight",
        "backbone.pos_embed",
        f"{block}.attn.k_bias",
        "backbone.blocks.4.gamma_1",
        "decode_head.fpn_convs.3.conv.weight",
    )
    for name, shape in shapes.items():
        yield name, tensors | {name: torch.zeros(shape)}
    for name in missing:
        yield name, {key: tensor for key, tensor in tensors.items() if key != name}
    for name in extra:
        yield name, tensors | {name: torch.zeros(16)}
    for name, bad in (("backbone.fpn1.1.bias", math.nan), (f"{block}.gamma_1", math.inf)):
        yield name, tensors | {name: torch.full_like(tensors[name], bad)}
    yield f"{block}.gamma_1", tensors | {f"{block}.gamma_1": torch.ones(16, dtype=torch.int64)}


def test_damaged_files_are_refused_by_the_tensors_name(tmp_path):
    _, tensors = content(tmp_path, "ade20k")
    faults = list(damaged(tensors))
    assert len(faults) >= 20
    for name, state in faults:
        with pytest.raises(UserError, match=re.escape(name)) as error:
            imported(tmp_path, "ade20k", {"state_dict": state})
        assert "\n" not in str(error.value) and "file.pth" in str(error.value)


@pytest.mark.parametrize(
    ("task", "other"), [("imagenet1k", "pretrained"), ("pretrained", "imagenet1k")]
)
def test_the_file_of_another_task_or_size_is_refused(tmp_path, task, other):
    whole, _ = content(tmp_path, task)
    with pytest.raises(UserError, match=f"is it BEiT's file of {other} for 32 pixels"):
        imported(tmp_path, other, whole)
    with pytest.raises(UserError, match="is it BEiTv2's file of .* for 48 pixels"):
        imported(tmp_path, task, whole, 48, "beitv2")


def test_a_made_up_file_has_the_same_bytes_again(tmp_path):
    for task in TASKS:
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            made_up.write(tmp_path / folder / "file.pth", task, config(task), 7, seed=1)
        first, second = (tmp_path / folder / "file.pth" for folder in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(beit, "backbone_config", lambda task, base: config(task, 640 // 16))
    name = "beit_base_patch16_640_pt22k_ft22ktoade20k.pth"
    made_up.write(tmp_path / name, "ade20k", config("ade20k", 40), 150, seed=1)
    model = run_example("docs/released-weights.md", "BEiT and BEiTv2")["model"]
    loaded = checkpoint.load(tmp_path / "beit-ade20k")
    assert isinstance(loaded, Segmentation) and loaded.config == model.config
