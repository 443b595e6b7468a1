"""VL-BEiT's image encoder as a timm model: what timm asks of every model, and that it is the
backbone's image path."""

import json
from dataclasses import replace

import pytest
import torch

from model import checkpoint, timm_encoder
from model.backbone.config import BackboneConfig
from model.backbone.vl_beit import VLBeit
from model.heads.classification import Classification, ClassificationConfig
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from model.timm_encoder import ImageEncoder, timm
from model.tokenizer.vqkd import VisualTokenizer, VQKDConfig
from pipeline.training.optim import OptimParams, parameter_groups

NAME = "vlbeit_base_patch16_224"
TINY = BackboneConfig(
    image_size=16,
    patch_size=4,
    depth=4,
    embed_dim=16,
    num_heads=2,
    mlp_dim=32,
    vocab_size=30,
    text_length=10,
    experts="mome",
    drop_path=0.0,
    init_std=0.02,
)


@pytest.fixture
def create(monkeypatch):
    """`timm.create_model` for the registered name, whose base size is small here."""
    monkeypatch.setattr(timm_encoder, "BASE", replace(TINY, vocab_size=1, text_length=1))
    torch.manual_seed(0)
    return lambda **kwargs: timm.create_model(NAME, **{"img_size": 16, **kwargs})


@pytest.fixture
def image():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def randomised(model):
    """No tensor is left at zeros or ones."""
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def test_the_registered_model_has_the_parameters_of_the_arithmetic():
    with torch.device("meta"):
        for pool in ("avg", "token", ""):
            encoder = timm.create_model(NAME, num_classes=0, global_pool=pool)
            assert sum(parameter.numel() for parameter in encoder.parameters()) == 85_789_440
        whole = timm.create_model(NAME)
    assert sum(parameter.numel() for parameter in whole.head.parameters()) == 769_000
    assert timm.list_models("vlbeit*") == ["vlbeit", NAME]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"experts": "standard"},
        {"vl_ffn_start_layer": 2, "token_types": True},
        {"relative_bias": True, "layer_scale": 0.1},
    ],
)
def test_it_is_the_backbones_image_path_whatever_the_options(options, tmp_path, image):
    backbone = randomised(VLBeit(replace(TINY, **options)))
    backbone.save_pretrained(tmp_path)
    encoder = ImageEncoder.from_pretrained(tmp_path)
    assert torch.equal(encoder.forward_features(image), backbone(image).image)
    assert not any("text" in name or "mask" in name for name in encoder.state_dict())


def test_it_is_the_classifier_of_a_fine_tune(create, tmp_path, image):
    tuned = randomised(Classification(ClassificationConfig(TINY, classes=7)))
    tuned.save_pretrained(tmp_path)
    assert torch.equal(ImageEncoder.from_pretrained(tmp_path)(image), tuned(image))
    loaded = create(num_classes=7, checkpoint_path=str(tmp_path / "model.safetensors")).eval()
    assert torch.equal(loaded(image), tuned(image))


def test_checkpoints_of_whole_models_and_of_the_encoder_load(create, tmp_path, image):
    pretrained = randomised(MaskedModeling(MaskedModelingConfig(TINY, codebook_size=11)))
    pretrained.save_pretrained(tmp_path / "whole")
    encoder = ImageEncoder.from_pretrained(tmp_path / "whole")
    encoder.save_pretrained(tmp_path / "encoder")
    expected = pretrained.backbone(image).image
    for folder in ("whole", "encoder"):
        assert torch.equal(
            ImageEncoder.from_pretrained(tmp_path / folder).forward_features(image), expected
        )
        path = str(tmp_path / folder / "model.safetensors")
        loaded = create(num_classes=0, global_pool="token", checkpoint_path=path).eval()
        assert torch.equal(loaded(image), expected[:, 0])
        features = create(
            pretrained=True,
            pretrained_cfg_overlay={"file": path},
            features_only=True,
            out_indices=(1, 3),
        )
        wanted = pretrained.backbone.image_features(image, [1, 3])
        for actual, one in zip(features.eval()(image), wanted, strict=True):
            assert torch.equal(actual, one[:, 1:].transpose(1, 2).unflatten(2, (4, 4)))
    with pytest.raises(RuntimeError, match="head.weight"):
        create(num_classes=5, checkpoint_path=path)


def test_positions_follow_the_size_of_the_images(create, tmp_path):
    tuned = randomised(VLBeit(TINY))
    tuned.save_pretrained(tmp_path)
    larger = VLBeit(replace(TINY, image_size=24)).eval()
    state = tuned.state_dict()
    larger.load_state_dict(
        state | {"image_positions": larger.fitted("image_positions", state["image_positions"])}
    )
    image = torch.rand(1, 3, 24, 24)
    loaded = create(
        img_size=24,
        num_classes=0,
        global_pool="",
        checkpoint_path=str(tmp_path / "model.safetensors"),
    )
    for encoder in (loaded.eval(), ImageEncoder.from_pretrained(tmp_path, image_size=24)):
        assert torch.equal(encoder(image), larger(image).image)
    with pytest.raises(ValueError, match="expected a square, found 16 x 24"):
        create(img_size=(16, 24))


def test_every_parameter_gets_a_gradient_and_checkpointing_changes_none(create, image):
    model = create(num_classes=5, drop_rate=0.1, drop_path_rate=0.2).train()
    gradients = []
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        model.zero_grad()
        torch.manual_seed(3)
        logits = model(image)
        assert logits.shape == (2, 5)
        logits.square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    plain, checkpointed = gradients
    for name, gradient in plain.items():
        assert gradient is not None, name
        torch.testing.assert_close(checkpointed[name], gradient)


def test_stochastic_depth_is_for_training_alone(create, image):
    model = create(drop_path_rate=0.5)
    randomised(model)
    assert torch.equal(model(image), model(image))
    model.train()
    torch.manual_seed(1)
    first = model(image)
    assert not torch.equal(model(image), first)
    torch.manual_seed(1)
    assert torch.equal(model(image), first)


def test_heads_come_and_go_as_in_timm(create, image):
    model = randomised(create(num_classes=5))
    features = model.forward_features(image)
    assert features.shape == (2, 17, 16)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size) == (2, model.num_features)
    assert torch.equal(model(image), model.get_classifier()(pooled))
    model.reset_classifier(0)
    assert torch.equal(model(image), pooled) and model.num_classes == 0
    model.reset_classifier(3)
    assert model(image).shape == (2, 3) and not model.get_classifier().bias.any()
    model.reset_classifier(0, "")
    assert model(image).shape == (2, 17, 16) and model.global_pool == ""
    model.reset_classifier(4, "token")
    token = model.forward_features(image)[:, 0]
    assert torch.equal(model.forward_head(model.forward_features(image), pre_logits=True), token)
    with pytest.raises(ValueError, match="global_pool: expected one of .*'max'"):
        create(global_pool="max")


def test_intermediates_and_features(create, image):
    model = randomised(create())
    final, maps = model.forward_intermediates(image)
    assert torch.equal(final, model.forward_features(image))
    assert [features.shape for features in maps] == [(2, 16, 4, 4)] * 4
    ((sequence, prefix),) = model.forward_intermediates(
        image, [-3], return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
    )
    assert torch.equal(sequence.transpose(1, 2).unflatten(2, (4, 4)), maps[1]) and prefix.shape == (
        2,
        1,
        16,
    )
    early, (only,) = model.forward_intermediates(image, [1], stop_early=True)
    assert torch.equal(only, maps[1]) and torch.equal(early[:, 1:], sequence)
    with pytest.raises(ValueError, match="output_fmt"):
        model.forward_intermediates(image, output_fmt="NHWC")
    features = create(features_only=True)
    assert (
        features.feature_info.channels() == [16] * 3
        and features.feature_info.reduction() == [4] * 3
    )
    features.model.load_state_dict(model.state_dict())
    for actual, expected in zip(features.eval()(image), maps[1:], strict=True):
        assert torch.equal(actual, expected)
    normed = randomised(create(global_pool="token"))
    final, (last,) = normed.forward_intermediates(image, 1, norm=True, output_fmt="NLC")
    assert torch.equal(last, final[:, 1:])


def test_pruning_removes_the_blocks_above(create, image):
    model = randomised(create())
    expected = model.forward_intermediates(image, [0, 1], intermediates_only=True)
    assert model.prune_intermediate_layers([0, 1], prune_norm=True) == [0, 1]
    actual = model.forward_intermediates(image, [0, 1], intermediates_only=True)
    for pruned, whole in zip(actual, expected, strict=True):
        assert torch.equal(pruned, whole)
    assert len(model.backbone.blocks) == 2
    assert "norm" not in {name.split(".")[0] for name in model.state_dict()}


def test_timm_groups_parameters_as_our_own_optimizer_does(create):
    from timm.optim import param_groups_layer_decay

    model = create(num_classes=5)
    groups = param_groups_layer_decay(
        model, weight_decay=0.05, layer_decay=0.5, no_weight_decay_list=model.no_weight_decay()
    )
    ours = parameter_groups(
        model,
        OptimParams(
            steps=1,
            lr=1.0,
            min_lr=0.0,
            warmup_steps=0,
            schedule="cosine",
            weight_decay=0.05,
            betas=[0.9, 0.999],
            eps=1e-8,
            max_grad_norm=0.0,
            head_lr_mult=1.0,
            layer_decay=0.5,
        ),
    )

    def by_parameter(groups, scale):
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        rates = {}
        for group in groups:
            for parameter in group["params"]:
                rates[names[id(parameter)]] = (group[scale], group["weight_decay"])
        return rates

    assert by_parameter(groups, "lr_scale") == by_parameter(ours, "scale")
    assert by_parameter(groups, "lr_scale")["backbone.patch_embed.weight"] == (0.5**5, 0.05)
    assert by_parameter(groups, "lr_scale")["backbone.image_positions"] == (0.5**5, 0.0)
    coarse = timm.models.group_parameters(model, model.group_matcher(coarse=True))
    assert len(coarse) == 3


def test_default_cfg_names_what_is_there(create):
    model = create(in_chans=1)
    state, cfg = model.state_dict(), model.default_cfg
    assert state[f"{cfg['first_conv']}.weight"].shape == (16, 1, 4, 4)
    assert state[f"{cfg['classifier']}.weight"].shape == (1000, 16)
    assert model(torch.zeros(1, 1, 16, 16)).shape == (1, 1000)
    data = timm.data.resolve_model_data_config(model)
    assert (data["mean"], data["std"]) == ((0.5,) * 3, (0.5,) * 3)
    assert (data["interpolation"], data["crop_pct"], data["input_size"]) == (
        "bicubic",
        0.875,
        (3, 224, 224),
    )


def test_the_state_goes_round(create, image):
    model, other = randomised(create()), create()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(image), model(image))


def test_a_wrong_folder_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json"):
        VLBeit.from_pretrained(tmp_path / "nowhere")
    tokenizer = VisualTokenizer(
        VQKDConfig(
            image_size=16,
            patch_size=8,
            depth=1,
            decoder_depth=1,
            embed_dim=8,
            num_heads=2,
            codebook_size=4,
            codebook_dim=4,
            teacher_dim=4,
            ema_decay=0.9,
            codebook_start_step=0,
        )
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    VLBeit(TINY).save_pretrained(tmp_path / "model")
    assert isinstance(VisualTokenizer.from_pretrained(tmp_path / "tokenizer"), VisualTokenizer)
    for cls, folder, words in (
        (VLBeit, "tokenizer", "holds a VisualTokenizer, not a VLBeit"),
        (ImageEncoder, "tokenizer", "which has no image encoder"),
        (Classification, "model", "holds a VLBeit, not a Classification"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            cls.from_pretrained(tmp_path / folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"model": "Thing"}'),
        ("config.json", b'{"model": "VLBeit", "depth": 3}'),
        ("model.safetensors", b"none"),
        ("model.safetensors", None),
    ],
)
def test_a_damaged_folder_is_one_line_that_names_the_file(name, content, tmp_path):
    VLBeit(TINY).save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        checkpoint.load(tmp_path)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_timm_creates_a_model_from_its_folder(tmp_path):
    classifier = Classification(ClassificationConfig(TINY, 6)).eval()
    checkpoint.save(classifier, tmp_path)
    path = tmp_path / "config.json"
    encoder = timm_encoder.ImageEncoderConfig(TINY, 6, "avg")
    config = json.loads(path.read_text()) | timm_encoder.timm_config(encoder, list("abcdef"))
    path.write_text(json.dumps(config))
    images = torch.rand(2, 3, TINY.image_size, TINY.image_size)
    name = f"local-dir:{tmp_path}"
    created = timm.create_model(name, pretrained=True).eval()
    assert torch.equal(created(images), classifier(images))
    assert created.pretrained_cfg["label_names"] == list("abcdef")
    assert timm.data.resolve_model_data_config(created)["crop_mode"] == "squash"
    larger = timm.create_model(name, pretrained=True, img_size=2 * TINY.image_size, num_classes=0)
    assert larger(torch.zeros(1, 3, 2 * TINY.image_size, 2 * TINY.image_size)).shape == (
        1,
        TINY.embed_dim,
    )
    assert isinstance(checkpoint.load(tmp_path), Classification)  # as before
