"""BEiT-3's released files: those in the official layout give what the published description gives,
and others are refused by name."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from model import checkpoint
from model.backbone.vl_beit import VLBeit
from model.heads.classification import Classification, ClassificationConfig
from model.normalize import STATISTICS
from model.pretraining.batches import TextBatch
from model.pretraining.masked_modeling import MaskedModeling
from model.timm_encoder import ImageEncoder
from pipeline.errors import UserError
from pipeline.released import beit3, state_dict
from pipeline.released.state_dict import ReleasedFile, shapes_of
from pipeline.tasks import runner
from tests.helpers import beit3_reference as official
from tests.helpers.beit3_reference import Reference, Size, seeded
from tests.helpers.relative_error import assert_near

TINY = replace(
    beit3.BASE,
    image_size=12,
    patch_size=4,
    depth=2,
    embed_dim=16,
    num_heads=2,
    mlp_dim=24,
    vocab_size=50,
)
SIZE = Size(12, 4, 2, 16, 2, 24, words=58, answers=5, classes=7)
ANSWERS, CLASSES = tuple("abcde"), tuple("abcdefg")
KINDS = tuple(official.BASE_IMAGE_SIZES)


def labels(kind):
    return {"vqa": ANSWERS, "imagenet1k": CLASSES}.get(kind, ())


def tensors(kind, size=SIZE):
    names = official.shapes(kind, size)
    if kind == "imagenet1k":
        names = official.images_alone(names)
    return seeded(names)


def imported(tmp_path, kind, content, size=TINY):
    torch.save(content, tmp_path / "file.pth")
    backbone = replace(size, final_norm=beit3.backbone_config(kind).final_norm)
    return beit3.read(state_dict.read(tmp_path / "file.pth"), kind, backbone, labels(kind))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(3, 2, 3, 12, 12, generator=generator) * 2 - 1
    ids = torch.randint(4, 50, (3, 6), generator=generator)
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, 4:] = False
    return images, ids, mask


def test_counts_of_the_published_description():
    """Sizes that the publishers state, of the reference's own list."""

    def numbers(names):
        return sum(math.prod(shape) for shape in names.values())

    of_kind = {k: official.shapes(k, Size(side)) for k, side in official.BASE_IMAGE_SIZES.items()}
    heads = official.pretraining_head_shapes(Size(224))
    assert numbers(of_kind["pretrained"] | heads) == 276_510_730
    assert numbers(official.pair("mlm_head", 64_010, 768)) == 49_223_690
    assert numbers(official.pair("mim_head", 8192, 768)) == 6_299_648
    assert numbers(of_kind["coco"]) == 222_458_881
    assert numbers(of_kind["vqa"]) == 228_110_649
    assert numbers(of_kind["nlvr2"]) == 225_719_810
    images = official.images_alone(of_kind["imagenet1k"])
    classifier = ClassificationConfig(beit3.backbone_config("imagenet1k"), 1000, text=False)
    # without the mask token and the two rows of positions that are never read
    assert numbers(shapes_of(lambda: Classification(classifier))) == 86_659_816
    assert numbers(images) == 86_659_816 + 3 * 768
    blocks = {name: shape for name, shape in of_kind["coco"].items() if ".layers." in name}
    attention = {n: shape for n, shape in blocks.items() if ".self_attn" in n and ".A." in n}
    networks = {n: shape for n, shape in blocks.items() if ".self_attn" not in n and ".A." in n}
    assert (numbers(attention), numbers(networks)) == (28_385_280, 56_761_344)
    assert math.prod(of_kind["coco"]["beit3.text_embed.weight"]) == 49_159_680
    counts = {kind: len(names) for kind, names in of_kind.items()}
    assert counts["pretrained"] == counts["indomain"] == 491
    assert len(of_kind["pretrained"] | heads) == 495 and counts["coco"] == 494
    assert counts["vqa"] == 497 and counts["nlvr2"] == 499 and len(images) == 249


@pytest.mark.parametrize("with_heads", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_importer_expects_the_published_tensors(kind, with_heads, monkeypatch):
    seen = {}

    def take(file, expected, dropped, what):
        seen.update(expected)
        raise UserError(what)

    heads = official.pretraining_head_shapes(Size(224))
    file = SimpleNamespace(tensors=heads if with_heads else {})
    monkeypatch.setattr(beit3.state_dict, "take", take)
    names = tuple(map(str, range({"vqa": 3129, "imagenet1k": 1000}.get(kind, 0))))
    size = beit3.backbone_config(kind)
    assert size.image_size == official.BASE_IMAGE_SIZES[kind]
    with pytest.raises(UserError, match=f"BEiT-3's file of {kind} for {size.image_size} pixels"):
        beit3.read(file, kind, size, names)
    expected = official.shapes(kind, Size(size.image_size))
    if kind == "imagenet1k":
        expected = official.images_alone(expected)
        del expected["beit3.vision_embed.mask_token"]
    if with_heads and kind in ("pretrained", "indomain"):
        expected |= heads
    assert seen == expected


@pytest.mark.parametrize("kind", ["pretrained", "indomain"])
@pytest.mark.parametrize("heads", [(), ("mlm_head",), ("mlm_head", "mim_head")])
def test_pretrained_files_give_the_published_vectors(tmp_path, kind, heads, batch):
    content, (images, ids, mask) = tensors(kind), batch
    of_heads = seeded(official.pretraining_head_shapes(SIZE))
    extra = (
        {name: tensor for name, tensor in of_heads.items() if name.startswith(heads)}
        if heads
        else {}
    )
    model = imported(tmp_path, kind, {"model": content | extra})
    assert isinstance(model, MaskedModeling if len(heads) == 2 else VLBeit)
    backbone = getattr(model, "backbone", model)
    reference = Reference(content, SIZE)
    image, text = reference.encode(images[:, 0], ids, mask)
    ours = backbone(images[:, 0], ids, text_mask=mask)
    assert_near(ours.image, image)
    assert_near(ours.text[mask], text[mask])
    assert_near(backbone(images[:, 0]).image, reference.encode(images[:, 0])[0])
    alone = backbone(text=ids, text_mask=mask).text
    assert_near(alone[mask], reference.encode(ids=ids, tokens=mask)[1][mask])
    longer = torch.cat([ids, torch.ones(3, 2, dtype=torch.int64)], dim=1)  # padding
    longer_mask = torch.cat([mask, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    assert_near(backbone(images[:, 0], longer, text_mask=longer_mask).image, image)


def test_the_heads_of_the_pretraining_give_the_published_logits(tmp_path, batch):
    content, (images, ids, mask) = tensors("pretrained"), batch
    content |= seeded(official.pretraining_head_shapes(SIZE))
    model = imported(tmp_path, "pretrained", {"model": content})
    reference, positions = Reference(content, SIZE), torch.tensor([1, 9, 14])
    _, text = reference.encode(ids=ids, tokens=mask)
    words = reference.linear(text.flatten(0, 1)[positions], "mlm_head")
    masked = TextBatch(ids, mask, masked_positions=positions, targets=positions)
    assert_near(model.mlm(masked), words[:, :50])  # of ids that the tokenizer has
    image, _ = reference.encode(images[:, 0])
    assert_near(
        model.mim_head(model.backbone(images[:, 0]).image), reference.linear(image, "mim_head")
    )


@pytest.mark.parametrize("kind", ["itc", "coco", "flickr30k"])
def test_retrieval_files_give_the_published_vectors(tmp_path, kind, batch):
    content = tensors(kind)
    model = imported(tmp_path, kind, {"module": content})
    reference, (images, ids, mask) = Reference(content, SIZE), batch
    assert_near(model.encode_image(images[:, 0]), reference.image_vectors(images[:, 0]))
    assert_near(model.encode_text(ids, mask), reference.text_vectors(ids, mask))
    assert model.log_scale.tolist() == [content["logit_scale"].item()]


def test_the_vqa_file_gives_the_published_logits(tmp_path, batch):
    content = tensors("vqa")
    model = imported(tmp_path, "vqa", {"model": content})
    images, ids, mask = batch
    expected = Reference(content, SIZE).vqa(images[:, 0], ids, mask)
    assert_near(model(images[:, 0], ids, mask), expected)
    assert model.config.answers == ANSWERS


def test_the_nlvr2_file_gives_the_published_logits(tmp_path, batch):
    content = tensors("nlvr2")
    model = imported(tmp_path, "nlvr2", {"model": content})
    assert_near(model(*batch), Reference(content, SIZE).nlvr2(*batch))


@pytest.mark.parametrize("whole", [False, True])
def test_imagenet_files_give_the_published_logits(tmp_path, whole, batch):
    content = tensors("imagenet1k")
    unused = seeded(official.shapes("imagenet1k", SIZE)) if whole else {}
    model = imported(tmp_path, "imagenet1k", {"model": unused | content})
    images = batch[0][:, 0]
    mean, std = torch.tensor(STATISTICS["imagenet"], dtype=torch.float64)[:, None, :, None, None]
    expected = Reference(content, SIZE).classes(((images.double() + 1) / 2 - mean) / std)
    assert_near(model(images), expected)
    checkpoint.save(model, tmp_path / "model")
    encoder = ImageEncoder.from_pretrained(tmp_path / "model")
    assert_near(encoder(images), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["model", "module", None])
def test_every_form_of_a_file_gives_a_folder_that_loads(tmp_path, kind, form):
    content = {f"module.{name}": tensor.half() for name, tensor in tensors(kind).items()}
    model = imported(tmp_path, kind, {form: content, "epoch": 3} if form else content)
    checkpoint.save(model, tmp_path / "model")
    loaded = checkpoint.load(tmp_path / "model")
    assert loaded.config == model.config and type(loaded) is type(model)
    state = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(state[name], tensor), name


@pytest.mark.parametrize("kind", ["pretrained", "vqa", "nlvr2"])
def test_a_fine_tune_at_another_resolution_starts_from_an_import(tmp_path, kind):
    """Rows 0 to 2 of the images' positions stay, the others are resized bicubically."""
    content = tensors(kind)
    checkpoint.save(imported(tmp_path, kind, {"model": content}), tmp_path / "model")
    config = replace(TINY, image_size=20, final_norm=kind != "vqa")
    backbone = VLBeit(config)
    report = checkpoint.load_backbone(backbone, tmp_path / "model")
    assert report.resized == ["image_positions"] and not report.missing
    rows = content["beit3.encoder.embed_positions.A.weight"]
    patches = rows[3:].T.reshape(1, 16, 3, 3)
    resized = torch.nn.functional.interpolate(patches, (5, 5), mode="bicubic")
    expected = torch.cat([rows[:3], resized.flatten(2)[0].T])[2:]
    assert torch.equal(backbone.image_positions[0], expected)
    before = checkpoint.load(tmp_path / "model")
    weights = getattr(before, "backbone", before).state_dict()
    for name, tensor in backbone.state_dict().items():
        assert name == "image_positions" or torch.equal(tensor, weights[name]), name


def test_a_classifier_starts_another_without_a_part_for_texts(tmp_path):
    backbone = beit3.backbone_config("imagenet1k", TINY)
    file = ReleasedFile(tmp_path, tensors("imagenet1k"), None, ("float32",), {})
    model = beit3.read(file, "imagenet1k", replace(backbone, image_size=12), CLASSES)
    model.save_pretrained(tmp_path / "model")
    start = replace(runner.backbone_config(tmp_path / "model"), image_size=20)
    assert start.vocab_size == 0  # by which a fine-tune knows that there is no such part
    report = checkpoint.load_backbone(VLBeit(start, text=False), tmp_path / "model")
    assert report.resized == ["image_positions"] and not report.missing


def test_a_key_bias_that_all_keys_share_changes_nothing(tmp_path, batch):
    images, ids, mask = batch
    content = tensors("pretrained")
    before = imported(tmp_path, "pretrained", content)
    layer, shift = "beit3.encoder.layers.1.self_attn.k_proj", torch.randn(16)
    both = content | {
        f"{layer}.{half}.bias": content[f"{layer}.{half}.bias"] + shift for half in "AB"
    }
    one = both | {f"{layer}.A.bias": content[f"{layer}.A.bias"]}
    after = imported(tmp_path, "pretrained", both)
    pairs = before(images[:, 0], ids, text_mask=mask)
    assert_near(after(images[:, 0], ids, text_mask=mask).image, pairs.image.double())
    after = imported(tmp_path, "pretrained", one)
    assert (after(images[:, 0], ids, text_mask=mask).image - pairs.image).abs().max() > 0.01
    assert_near(after(text=ids).text, before(text=ids).text.double())
    assert_near(after(images[:, 0]).image, before(images[:, 0]).image.double())


def damaged(content):
    """Copies of a VQA file's tensors with one fault each, and what the message must name."""
    layer = "beit3.encoder.layers.1"
    shapes = {
        "beit3.text_embed.weight": (50, 16),
        "beit3.encoder.embed_positions.A.weight": (11, 16),
        "beit3.encoder.embed_positions.B.weight": (1022, 16),
        f"{layer}.ffn.A.fc1.weight": (16, 24),
        f"{layer}.self_attn.q_proj.B.weight": (48, 16),
        "head.3.weight": (6, 32),
        "beit3.vision_embed.proj.weight": (16, 3, 8, 8),
    }
    missing = (
        f"{layer}.self_attn.k_proj.A.bias",
        f"{layer}.self_attn.inner_attn_ln.B.weight",
        f"{layer}.ffn.B.ffn_layernorm.bias",
        "pooler.norm.weight",
        "beit3.vision_embed.mask_token",
        "beit3.vision_embed.cls_token",
    )
    extra = (
        "beit3.encoder.layer_norm.A.weight",
        "beit3.encoder.layers.2.fc1.weight",
        "mlm_head.weight",
        "logit_scale",
        f"{layer}.gamma_1",
    )
    for name, shape in shapes.items():
        yield name, content | {name: torch.zeros(shape)}
    for name in missing:
        yield name, {key: tensor for key, tensor in content.items() if key != name}
    for name in extra:
        yield name, content | {name: torch.zeros(16)}
    for name, bad in (("head.0.bias", math.nan), ("pooler.dense.weight", math.inf)):
        yield name, content | {name: torch.full_like(content[name], bad)}
    yield "head.1.weight", content | {"head.1.weight": torch.ones(32, dtype=torch.int64)}


def test_damaged_files_are_refused_by_the_tensors_name(tmp_path):
    faults = list(damaged(tensors("vqa")))
    assert len(faults) >= 20
    for name, content in faults:
        with pytest.raises(UserError, match=re.escape(name)) as error:
            imported(tmp_path, "vqa", {"model": content})
        assert "\n" not in str(error.value) and "file.pth" in str(error.value)


@pytest.mark.parametrize(("kind", "other"), [("vqa", "nlvr2"), ("nlvr2", "coco"), ("coco", "vqa")])
def test_a_file_of_another_task_is_refused(tmp_path, kind, other):
    with pytest.raises(UserError, match=f"is it BEiT-3's file of {other} for 12 pixels"):
        imported(tmp_path, other, {"model": tensors(kind)})
