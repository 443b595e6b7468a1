"""Folders of saved models, also those of earlier versions."""

import json
from dataclasses import make_dataclass, replace

import pytest
import torch

from model import checkpoint
from model.backbone.vl_beit import VLBeit
from model.heads.classification import Classification, ClassificationConfig
from model.heads.segmentation import Segmentation, SegmentationConfig
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from model.tokenizer.vqkd import VisualTokenizer, VQKDConfig
from pipeline.tasks import runner
from tests.helpers.toy import BACKBONE, HEAD

TOKENIZER = VQKDConfig(
    image_size=16,
    patch_size=4,
    depth=1,
    decoder_depth=1,
    embed_dim=8,
    num_heads=2,
    codebook_size=20,
    codebook_dim=4,
    teacher_dim=5,
    ema_decay=0.9,
    codebook_start_step=3,
)
EARLIER_KEYS = {current: earlier for earlier, current in checkpoint.RENAMED_KEYS.items()}


def with_earlier_keys(tree):
    if not isinstance(tree, dict):
        return tree
    return {EARLIER_KEYS.get(key, key): with_earlier_keys(value) for key, value in tree.items()}


@pytest.mark.parametrize(
    ("model", "earlier"),
    [
        (VLBeit(BACKBONE), {"width", "heads", "ffn_width", "init_sigma"}),
        (MaskedModeling(MaskedModelingConfig(BACKBONE, codebook_size=20)), {"codes"}),
        (Classification(ClassificationConfig(BACKBONE, classes=3)), set()),
        (VisualTokenizer(TOKENIZER), {"codes", "code_dim", "decay", "delay"}),
    ],
)
def test_a_folder_of_an_earlier_version_is_read(tmp_path, model, earlier):
    checkpoint.save(model, tmp_path)
    path = tmp_path / "config.json"
    config = with_earlier_keys(json.loads(path.read_text()))
    assert earlier <= config.keys()
    path.write_text(json.dumps(config))
    if "backbone" in config:
        assert {"width", "heads"} <= config["backbone"].keys()
        assert runner.backbone_config(tmp_path) == model.config.backbone
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_loading_draws_no_initial_weights(tmp_path):
    backbone = replace(BACKBONE, relative_bias=True)
    model = Segmentation(SegmentationConfig(backbone, HEAD, "imagenet")).eval()
    checkpoint.save(model, tmp_path)
    before = torch.get_rng_state()
    loaded = checkpoint.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    for name, buffer in model.named_buffers():  # also those that are in no file
        assert torch.equal(loaded.get_buffer(name), buffer), name
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter), name
        assert loaded.get_parameter(name).requires_grad == parameter.requires_grad


def test_a_key_of_a_configuration_is_no_earlier_name():
    """A task's configuration may have a `width` of its own."""
    config = make_dataclass("Config", ["backbone", "width"])
    tree = {"backbone": {"width": 16, "depth": 2}, "width": 3, "codes": 5}
    assert checkpoint.with_current_keys(tree, config) == {
        "backbone": {"embed_dim": 16, "depth": 2},
        "width": 3,
        "codebook_size": 5,
    }
