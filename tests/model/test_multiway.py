"""BEiT-3's blocks and heads as parts of this project's models; their values are held against the
published description in `tests/pipeline/released/test_beit3.py`."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from model import checkpoint
from model.backbone.token_layout import ModalityTokens
from model.backbone.vl_beit import BackboneInput, VLBeit
from model.heads.classification import Classification, ClassificationConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.vqa import VQA, VQAConfig
from model.pretraining.batches import PretrainingBatch
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from model.timm_encoder import ImageEncoder, ImageEncoderConfig
from pipeline.data.loading.sampler import MicroBatch
from pipeline.training.optim import layer_of
from tests.helpers.toy import BACKBONE, MaskedToy
from tests.model.test_options import assert_trained, pair

MULTIWAY = replace(BACKBONE, experts="multiway", norm_eps=1e-5)
BARE = replace(MULTIWAY, final_norm=False)


def net(config=MULTIWAY):
    """With numbers of which every one matters."""
    torch.manual_seed(0)
    model = VLBeit(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("config", [MULTIWAY, BARE])
def test_several_inputs_in_one_pass_are_as_one_by_one(config):
    model, (image, text, mask) = net(config), pair()
    texts, pairs, images = model.encode(
        [BackboneInput(text=text), BackboneInput(image, text, mask), BackboneInput(image)]
    )
    torch.testing.assert_close(texts.text, model(text=text).text)
    torch.testing.assert_close(images.image, model(image).image)
    alone = model(image, text, text_mask=mask)
    torch.testing.assert_close(pairs.text[mask], alone.text[mask])
    torch.testing.assert_close(pairs.image, alone.image)
    assert not torch.allclose(alone.image, images.image, atol=1e-2)


@pytest.mark.parametrize("config", [MULTIWAY, BARE])
def test_class_vectors_are_those_of_the_whole(config):
    model, (image, text, mask) = net(config), pair()
    whole = model(image, text, text_mask=mask)
    read = model.cls_tokens(BackboneInput(image, text, mask))
    torch.testing.assert_close(read.text, whole.text[:, 0])
    torch.testing.assert_close(read.image, whole.image[:, 0])
    assert torch.equal(model.cls(image, text, text_mask=mask), read.text)
    assert not len(model.cls_tokens(BackboneInput(image)).text)
    assert not len(model.cls_tokens(BackboneInput(text=text)).image)


def test_without_a_final_norm_the_last_blocks_output_comes_out():
    model, (image, _, _) = net(BARE), pair()
    assert not [name for name in model.state_dict() if "norm" in name and "blocks" not in name]
    (last,) = model.image_features(image, [len(model.blocks) - 1])
    assert torch.equal(model(image).image, last)


def test_dropped_branches_add_nothing():
    """The last block's rate is 0.2; its branches are attention, texts' and images' networks."""
    model, (image, text, _) = net(BARE), pair()
    before = VLBeit(replace(BARE, depth=3, drop_path=0.0)).eval()
    before.load_state_dict(model.state_dict(), strict=False)
    expected = before(image, text)
    model.config = replace(model.config, drop_path=0.2)
    model.drop_rates = lambda device: torch.tensor([0.0, 0.0, 0.0, 0.2])

    def run(*dropped):
        noise = torch.full((3, 4, 3), 0.9)
        noise[:, 3, list(dropped)] = 0.1
        return model(image, text, drop_path_noise=noise)

    none = run(0, 1, 2)
    torch.testing.assert_close(none.text, expected.text)
    torch.testing.assert_close(none.image, expected.image)
    torch.testing.assert_close(run(0, 1).text, expected.text)
    torch.testing.assert_close(run(0, 2).image, expected.image)
    assert not torch.allclose(run(0, 1).image, expected.image, atol=1e-2)
    assert not torch.allclose(run(1, 2).text, expected.text, atol=1e-2)


def test_every_trained_weight_gets_a_gradient():
    image, text, mask = pair()
    models = {
        VQA(VQAConfig(BARE, ("a", "b"), image_cls=True)): lambda model: model(image, text, mask),
        NLVR2(NLVR2Config(MULTIWAY, image_cls=True)): lambda model: model(
            image[:, None].expand(-1, 2, -1, -1, -1), text, mask
        ),
        Classification(ClassificationConfig(MULTIWAY, 5)): lambda model: model(image),
        Classification(ClassificationConfig(BARE, 5, text=False)): lambda model: model(image),
    }
    for model, run in models.items():
        run(model).square().sum().backward()
        assert_trained(model)


@pytest.mark.parametrize("uses", [{"text", "image", "pair"}, {"pair"}, {"text"}, {"image"}])
def test_every_trained_weight_gets_a_gradient_in_pretraining(uses):
    task = MaskedToy()
    model = MaskedModeling(MaskedModelingConfig(MULTIWAY, 20))
    model.backbone.freeze_unreached(uses)
    streams = {"text": "texts", "image": "images", "pair": "pairs"}
    everything = task[MicroBatch(0)]
    batch = PretrainingBatch(**{streams[use]: getattr(everything, streams[use]) for use in uses})
    sum(task.loss(model, batch).values()).backward()
    assert_trained(model.backbone.blocks)
    frozen = {name for name, p in model.backbone.blocks.named_parameters() if not p.requires_grad}
    unreached = {"image": ".image.", "text": ".text."}
    expected = [unreached[m] for m in unreached if not {m, "pair"} & uses]
    assert frozen == {
        name for name in model.backbone.blocks.state_dict() if any(m in name for m in expected)
    }


def test_checkpointed_and_compiled_blocks_give_the_same():
    plain, (image, text, mask) = net(), pair()
    expected = plain(image, text, text_mask=mask)
    compiled, again = deepcopy(plain), deepcopy(plain)
    compiled.compile_blocks(backend="eager", fullgraph=True)
    again.set_grad_checkpointing()
    for model in (compiled, again):
        torch.testing.assert_close(model(image, text, text_mask=mask).image, expected.image)
        torch.testing.assert_close(model(image).image, plain(image).image)


def test_an_image_encoder_is_the_image_path(tmp_path):
    model, (image, _, _) = net(), pair()
    checkpoint.save(model, tmp_path)
    encoder = ImageEncoder.from_pretrained(tmp_path)
    torch.testing.assert_close(encoder(image), model(image).image)
    assert not [name for name in encoder.state_dict() if ".text" in name]
    bare = ImageEncoder(ImageEncoderConfig(BARE, num_classes=5, global_pool="avg"))
    assert bare.norm.eps == 1e-5 and bare(image).shape == (3, 5)


def test_a_classifier_without_a_text_half_gives_the_same():
    image, _, _ = pair()
    for config in (BACKBONE, MULTIWAY, replace(BACKBONE, relative_bias=True)):
        torch.manual_seed(0)
        whole = Classification(ClassificationConfig(config, 5)).eval()
        half = Classification(ClassificationConfig(config, 5, text=False)).eval()
        missing, _ = half.load_state_dict(whole.state_dict(), strict=False)
        assert not missing and torch.equal(half(image), whole(image))
        names = [name for name, parameter in whole.named_parameters() if parameter.requires_grad]
        assert names == [name for name, p in half.named_parameters() if p.requires_grad]


def test_layers_for_layer_wise_rates():
    model = VQA(VQAConfig(MULTIWAY, ("a",), image_cls=True))
    layers = {name: layer_of(name, 4) for name in model.state_dict()}
    assert layers["backbone.text_norm.weight"] == layers["backbone.norm.weight"] == 5
    assert layers["backbone.blocks.2.text.fc1.weight"] == 3 and layers["pooler.norm.weight"] == 5
    assert layers["backbone.image_positions"] == layers["backbone.word_embed.weight"] == 0


def test_heads_come_back_from_a_folder(tmp_path):
    for model in (
        VQA(VQAConfig(BARE, ("a", "b"), image_cls=True)),
        NLVR2(NLVR2Config(MULTIWAY, image_cls=True)),
        Classification(ClassificationConfig(BARE, 5, text=False)),
    ):
        checkpoint.save(model, tmp_path)
        assert checkpoint.load(tmp_path).config == model.config


@pytest.mark.parametrize(
    "change",
    [
        {"layer_scale": 0.1},
        {"bias_per_block": True},
        {"vl_ffn_start_layer": 1},
        {"norm_eps": 0.0},
        {"experts": "x"},
    ],
)
def test_what_does_not_go_together_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(MULTIWAY, **change)


def test_every_norm_of_a_backbone_has_its_epsilon():
    for config in (MULTIWAY, replace(BACKBONE, norm_eps=1e-3)):
        norms = [m for m in VLBeit(config).modules() if isinstance(m, torch.nn.LayerNorm)]
        assert {norm.eps for norm in norms} == {config.norm_eps}
    norms = [m for m in VLBeit(BACKBONE).modules() if isinstance(m, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-6}


def test_empty_selections_are_empty():
    model, (image, text, mask) = net(), pair()
    nothing = torch.empty(0, dtype=torch.int64)
    (read,) = model.encode_at(
        [BackboneInput(image, text, mask)], [ModalityTokens(nothing, torch.tensor([0, 17]))]
    )
    whole = model(image, text, text_mask=mask)
    assert read.text.shape == (0, 16)
    torch.testing.assert_close(read.image, whole.image[:2, 0])
