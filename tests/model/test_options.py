"""What the paper leaves open: each option changes what it should, and nothing where it is off."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import RectBivariateSpline

from model import checkpoint
from model.backbone.config import BackboneConfig
from model.backbone.rel_pos_bias import (
    RelativeBias,
    geometric_offsets,
    image_index,
    resize_image_table,
)
from model.backbone.vl_beit import VLBeit
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.segmentation import Segmentation, SegmentationConfig
from model.pretraining.batches import PretrainingBatch, TextBatch
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from pipeline.data.loading.row_reader import ImageRow
from pipeline.data.loading.sampler import MicroBatch, SampleIndex
from pipeline.data.transforms.views import ViewParams
from pipeline.pretraining.data import normalize_stream
from pipeline.pretraining.samples import SampleBuilder, SampleParams
from pipeline.tokenizers.text.reader import SpecialIds
from pipeline.training.data_parallel import DDPModel
from pipeline.training.step import backward
from tests.helpers.toy import BACKBONE, HEAD, MaskedToy
from tests.helpers.toy_images import jpeg

PAIRED = replace(BACKBONE, vl_ffn_start_layer=3)
ALL = replace(PAIRED, layer_scale=0.1, relative_bias=True, token_types=True)
VLMO = replace(
    ALL, bias_per_block=True, second_image_type=True, word_norm=True, absolute_positions=False
)


def net(config: BackboneConfig) -> VLBeit:
    torch.manual_seed(0)
    return VLBeit(config).eval()


def pair(batch=3, length=7):
    torch.manual_seed(1)
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[0, 5:] = False
    return torch.rand(batch, 3, 16, 16) * 2 - 1, torch.randint(5, 40, (batch, length)), mask


@pytest.mark.parametrize(
    "change",
    [
        {"layer_scale": 0.1},
        {"relative_bias": True},
        {"token_types": True},
        {"relative_bias": True, "bias_per_block": True},
        {"word_norm": True},
    ],
)
def test_an_option_adds_weights_and_draws_the_common_ones_alike(change):
    with_it, without = net(replace(BACKBONE, **change)).state_dict(), net(BACKBONE).state_dict()
    assert without.keys() < with_it.keys()
    for name, tensor in without.items():
        if "positions" not in name:
            assert torch.equal(with_it[name], tensor), name


def test_layer_scale_multiplies_the_residual_branches():
    scaled, plain = net(replace(BACKBONE, layer_scale=0.5)), net(BACKBONE)
    plain.load_state_dict(scaled.state_dict(), strict=False)
    image, text, mask = pair()
    for block in plain.blocks:  # half the branch is half its last matrix and bias
        for layer in (block.attn.proj, block.text_expert.mlp.fc2, block.image_expert.mlp.fc2):
            layer.weight.data *= 0.5
            layer.bias.data *= 0.5
    for one, other in zip(
        vars(scaled(image, text, text_mask=mask)).values(),
        vars(plain(image, text, text_mask=mask)).values(),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_token_types_are_added_to_each_modality():
    typed, plain = net(replace(BACKBONE, token_types=True)), net(BACKBONE)
    plain.load_state_dict(typed.state_dict(), strict=False)
    image, text, _ = pair()
    torch.testing.assert_close(
        typed.embed_text(text) - plain.embed_text(text), typed.token_types[0].expand(3, 7, -1)
    )
    torch.testing.assert_close(
        typed.embed_image(image, None) - plain.embed_image(image, None),
        typed.token_types[1].expand(3, 17, -1),
    )


def test_the_expert_for_pairs_meets_all_of_a_pair_and_nothing_else():
    model, (image, text, mask) = net(PAIRED), pair()
    assert [block.pair_expert is not None for block in model.blocks] == [False, False, False, True]
    text_alone, image_alone = model(text=text).text, model(image).image
    before = model(image, text, text_mask=mask)
    model.blocks[3].pair_expert.mlp.fc2.weight.data.zero_()
    assert torch.equal(model(text=text).text, text_alone)
    assert torch.equal(model(image).image, image_alone)
    after = model(image, text, text_mask=mask)
    assert not torch.allclose(before.text, after.text)
    assert not torch.allclose(before.image, after.image)
    with pytest.raises(ValueError, match="vl_ffn_start_layer"):
        replace(PAIRED, experts="standard")


@pytest.mark.parametrize("config", [BACKBONE, ALL, VLMO])
def test_every_trained_weight_gets_a_gradient(config):
    """DDP on several workers waits for every gradient."""
    image, text, mask = pair()
    labels, dropout = torch.zeros(3, 16, 16, dtype=torch.int64), torch.rand(3, 14)
    models = {
        NLVR2(NLVR2Config(config)): lambda model: model(
            image[:, None].expand(-1, 2, -1, -1, -1), text, mask
        ).sum(),
        Segmentation(SegmentationConfig(config, HEAD)): lambda model: sum(
            model(image, labels, torch.rand(3, 4, 3), dropout).values()
        ),
    }
    for model, run in models.items():
        run(model).backward()
        assert_trained(model)


@pytest.mark.parametrize("config", [ALL, VLMO])
@pytest.mark.parametrize(
    "uses", [{"text", "image", "pair"}, {"pair"}, {"text", "image"}, {"image", "pair"}]
)
def test_every_trained_weight_gets_a_gradient_in_pretraining(uses, config):
    task = MaskedToy()
    task.model = MaskedModeling(MaskedModelingConfig(config, 20))
    task.model.backbone.freeze_unreached(uses)
    streams = {"text": "texts", "image": "images", "pair": "pairs"}
    everything = task[MicroBatch(0)]
    batch = PretrainingBatch(**{streams[use]: getattr(everything, streams[use]) for use in uses})
    sum(task.loss(task.model, batch).values()).backward()
    assert_trained(task.model)


def assert_trained(model):
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, name


def test_entries_of_patches_depend_on_their_offset_alone():
    grid, index = 3, image_index(3)
    positions = [(row, column) for row in range(grid) for column in range(grid)]
    for i, (row, column) in enumerate(positions):
        for j, (other_row, other_column) in enumerate(positions):
            assert index[1 + i, 1 + j] == (row - other_row + 2) * 5 + column - other_column + 2
    assert (
        index[0, 1:].unique().tolist() == [25]
        and index[1:, 0].unique().tolist() == [26]
        and index[0, 0] == 27
    )


def test_biases_are_added_to_the_scores_of_every_block():
    torch.manual_seed(0)
    bias = RelativeBias(num_heads=2, grid=2, text_length=5)
    for table in bias.parameters():
        torch.nn.init.normal_(table)
    both = bias(3, 5)
    assert both.shape == (2, 8, 8)
    assert torch.equal(both[:, :3, :3], bias(3, 0)) and torch.equal(both[:, 3:, 3:], bias(0, 5))
    assert both[1, 2, 0] == bias.text_table[4 + 2, 1] and both[0, 0, 2] == bias.text_table[4 - 2, 0]
    assert (
        both[0, :3, 3:].unique() == bias.cross_table[0, 0]
        and both[0, 3:, :3].unique() == bias.cross_table[1, 0]
    )
    model, (image, text, mask) = net(replace(BACKBONE, relative_bias=True)), pair()
    before = model(image, text, text_mask=mask)
    torch.testing.assert_close(
        before.text, net(BACKBONE)(image, text, text_mask=mask).text
    )  # tables start at 0
    model.relative_bias.cross_table.data[:] = -1e9  # nobody looks at the other modality
    after = model(image, text, text_mask=mask)
    torch.testing.assert_close(after.text[1:], model(text=text).text[1:])
    torch.testing.assert_close(after.image, model(image).image)


def test_each_block_may_have_biases_of_its_own():
    model, (image, text, mask) = (
        net(replace(BACKBONE, relative_bias=True, bias_per_block=True)),
        pair(),
    )
    shared = net(replace(BACKBONE, relative_bias=True))
    for name in ("image_table", "cross_table"):
        torch.nn.init.normal_(getattr(shared.relative_bias, name))
        for block in model.blocks:
            getattr(block.relative_bias, name).data[:] = getattr(shared.relative_bias, name)
    with torch.no_grad():
        torch.testing.assert_close(
            model(image, text, text_mask=mask).image, shared(image, text, text_mask=mask).image
        )
        before = model.image_features(image, range(4))
        model.blocks[2].relative_bias.image_table.data.normal_()
        after = model.image_features(image, range(4))
    same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert same == [True, True, False, False]


@pytest.mark.parametrize("option", ["bias_per_block", "second_image_type"])
def test_an_option_of_an_option_is_refused_without_it(option):
    with pytest.raises(ValueError, match=f"{option}: needs "):
        replace(BACKBONE, **{option: True})


def test_words_are_normed_before_anything_is_added():
    model, (_, text, _) = net(replace(VLMO, absolute_positions=True)), pair()
    words = model.word_embed(text)
    words = (words - words.mean(2, keepdim=True)) / words.var(2, False, keepdim=True).sqrt()
    expected = words + model.text_positions[:, :7] + model.token_types[0]
    torch.testing.assert_close(model.embed_text(text), expected, atol=1e-4, rtol=1e-4)
    model = net(VLMO)
    assert model.text_positions is None and model.image_positions is None
    torch.testing.assert_close(
        model.embed_text(text), words + model.token_types[0], atol=1e-4, rtol=1e-4
    )


def test_the_image_encoder_alone_has_nothing_of_texts():
    names = VLBeit(VLMO, text=False).state_dict()
    assert not any("text" in name or "word" in name or "cross" in name for name in names)
    image, _, _ = pair()
    assert torch.equal(net_alone(VLMO)(image).image, net(VLMO)(image).image)


def net_alone(config):
    """The image encoder with the weights of `net`."""
    alone, whole = VLBeit(config, text=False).eval(), net(config).state_dict()
    alone.load_state_dict({name: whole[name] for name in alone.state_dict()})
    return alone


def test_the_table_of_patches_grows_with_the_image(tmp_path):
    torch.manual_seed(0)
    offset = torch.arange(-3, 4.0)
    table = torch.cat([(offset[:, None] ** 2 + offset).flatten(), torch.tensor([5.0, 6.0, 7.0])])[
        :, None
    ]
    larger = resize_image_table(table, 6)[:-3, 0].view(11, 11)
    assert resize_image_table(table, 6)[-3:, 0].tolist() == [5, 6, 7]
    assert larger[5, 5] == pytest.approx(0, abs=1e-5) and (larger[5].diff() > 0).all()
    assert larger[0, 5] == pytest.approx(9, rel=0.02)  # the outermost offset keeps its value
    model = MaskedModeling(MaskedModelingConfig(ALL, 20))
    torch.nn.init.normal_(model.backbone.relative_bias.image_table)
    checkpoint.save(model, tmp_path)
    report = checkpoint.load_backbone(VLBeit(replace(ALL, image_size=24)), tmp_path)
    assert report.resized == ["image_positions", "relative_bias.image_table"] and not report.missing
    assert checkpoint.load(tmp_path).config == model.config


@pytest.mark.parametrize(
    ("grid", "ratio"), [(24, 1.0903), (30, 1.1251), (32, 1.1349), (40, 1.1685)]
)
def test_entries_of_patches_are_interpolated_by_cubics_at_geometric_distances(grid, ratio):
    offsets = geometric_offsets(13, grid - 1)
    assert np.diff(offsets)[14:] / np.diff(offsets)[13:-1] == pytest.approx(ratio, abs=1e-4)
    assert offsets[13] == 0 and offsets[-1] == -offsets[0]
    assert offsets[-1] == pytest.approx(grid - 1, abs=1e-3)
    table = torch.randn(27**2 + 3, 2, generator=torch.Generator().manual_seed(0))
    spline = RectBivariateSpline(offsets, offsets, table[:-3, 1].view(27, 27).numpy(), s=0)
    whole = np.arange(1 - grid, grid).clip(offsets[0], offsets[-1])
    actual = resize_image_table(table, grid)
    assert actual.shape == ((2 * grid - 1) ** 2 + 3, 2) and torch.equal(actual[-3:], table[-3:])
    np.testing.assert_allclose(
        actual[:-3, 1].view(2 * grid - 1, -1).numpy(), spline(whole, whole), atol=1e-5
    )
    assert resize_image_table(table, 14) is table


def test_the_transform_head_is_berts():
    head, x = (
        MaskedModeling(MaskedModelingConfig(BACKBONE, 20, "transform")).mlm_head,
        torch.randn(5, 16),
    )
    torch.nn.init.normal_(head[2].weight)
    hidden = F.gelu(x @ head[0].weight.T)
    hidden = (hidden - hidden.mean(1, keepdim=True)) / (
        hidden.var(1, unbiased=False, keepdim=True) + 1e-12
    ).sqrt()
    torch.testing.assert_close(head(x), hidden * head[2].weight @ head[3].weight.T)


def test_text_lengths_cut_captions_and_size_the_positions():
    class Words:
        special = SpecialIds(begin=0, end=1, mask=3, ordinary=range(4, 40))

        def encode(self, text, longest):
            return np.arange(5, 5 + min(len(text.split()), longest))

    masks = type("Masks", (), {"num_masked_patches": 6, "min_block": 2, "caption_mask_ratio": 0.5})
    row = ImageRow("a", jpeg("a"), (), (), None)
    rows = type(
        "Rows", (), {"get": lambda self, group, unit: (row, "one two three four five six")}
    )()
    lengths = {}
    for longest in (4, 12):
        builder = SampleBuilder(
            SampleParams(1, 16, 4, 2, longest, masks),
            Words(),
            {"pairs": ViewParams([0.2, 0.5], 0.5, 0.4)},
        )
        pairs = builder.batch("pairs", rows, [SampleIndex(0, 0, 0)], "train")
        lengths[longest] = pairs.text.ids.shape[1]
    assert lengths == {4: 4, 12: 6}
    assert net(replace(BACKBONE, text_length=9)).text_positions.shape[1] == 9


def test_the_tied_head_is_the_word_table():
    model = MaskedModeling(MaskedModelingConfig(BACKBONE, 20, "tied"))
    _, text, mask = pair()
    positions = torch.tensor([1, 9])
    hidden = model.backbone(text=text, text_mask=mask).text.flatten(0, 1)[positions]
    torch.testing.assert_close(
        model.mlm(
            TextBatch(text, mask, masked_positions=positions, targets=text.flatten()[positions])
        ),
        hidden @ model.backbone.word_embed.weight.T,
    )
    with pytest.raises(ValueError, match="mlm_head"):
        MaskedModeling(MaskedModelingConfig(BACKBONE, 20, "none"))


def test_separate_masking_shows_each_half_whole_to_the_other():
    task = MaskedToy()
    pairs = normalize_stream(task[MicroBatch(0)].pairs)
    config = replace(task.model.config, backbone=replace(BACKBONE, drop_path=0.0))
    joint = MaskedModeling(config)
    separate = MaskedModeling(replace(config, mvlm_mode="separate"))
    separate.load_state_dict(joint.state_dict())
    losses = separate(PretrainingBatch(pairs=pairs))
    text, image, _ = pairs
    original = text.ids.clone()
    original.view(-1)[text.masked_positions] = text.targets
    read = separate.backbone(image.pixels, text.ids, text_mask=text.mask)
    seen = separate.backbone(image.pixels, original, text_mask=text.mask, image_masked=image.masked)
    words = separate.mlm_head(read.text.flatten(0, 1)[text.masked_positions])
    codes = separate.mim_head(seen.image[:, 1:].flatten(0, 1)[image.masked_positions])
    expected = {
        "mvlm_text": F.cross_entropy(words, text.targets, reduction="sum"),
        "mvlm_image": F.cross_entropy(codes, image.targets, reduction="sum"),
    }
    for name, value in joint(PretrainingBatch(pairs=pairs)).items():
        torch.testing.assert_close(losses[name], expected[name])
        assert abs(losses[name] - value) > 1e-4
    with pytest.raises(ValueError, match="mvlm_mode"):
        replace(config, mvlm_mode="both")


def test_loss_weights_weigh():
    def gradient(weights):
        task = MaskedToy()
        task.loss_weights = weights
        backward(task, DDPModel(task.model), [task[MicroBatch(0)]], "fp32")
        return task.model.mim_head.weight.grad

    weights = {"mlm": 1.0, "mim": 0.0, "mvlm_text": 1.0, "mvlm_image": 0.0}
    assert not gradient(weights).any()
    single, double = gradient(weights | {"mim": 1.0}), gradient(weights | {"mim": 2.0})
    torch.testing.assert_close(double, 2 * single)


def test_online_tokens_are_those_of_the_views_that_the_model_sees():
    """A tokenizer that names the brightness of a patch, on views that are new at every position."""
    masks = type("Masks", (), {"num_masked_patches": 6, "min_block": 2})
    builder = SampleBuilder(
        SampleParams(1, 16, 4, 2, 12, masks), None, {"images": ViewParams([0.2, 0.5], 0.5, 0.4)}
    )
    row = ImageRow("a", jpeg("a"), (), (), None)
    rows = type("Rows", (), {"get": lambda self, group, unit: (row, "")})()
    part = builder.batch(
        "images", rows, [SampleIndex(0, 0, position) for position in range(8)], "train"
    )
    assert part.targets is None
    assert len({view.numpy().tobytes() for view in part.pixels}) == 8

    class Brightness(torch.nn.Module):
        def token_ids(self, pixels):
            return ((F.avg_pool2d(pixels.mean(1), 4) + 1) * 8).long().flatten(1)

    task = MaskedToy()
    task.visual_tokenizer = Brightness()
    (tokenized,) = task.prepare(task.model, [PretrainingBatch(images=part)])
    pixels = part.pixels.numpy().astype(np.float64)
    patches = pixels.reshape(8, 4, 4, 4, 4, 3).mean(axis=(2, 4, 5))
    expected = (patches / 127.5 * 8).astype(int).reshape(-1)[part.masked_positions]
    actual = tokenized.images.targets.numpy()
    assert np.abs(actual - expected).max() <= 1 and (actual == expected).mean() > 0.95
    assert len(Counter(actual.tolist())) > 2
