"""BEiT's and BEiTv2's released files: models with the outputs of timm's networks come out, and others
are refused by name."""

from dataclasses import replace

import pytest
import torch

from model import checkpoint
from model.normalize import STATISTICS
from model.timm_encoder import ImageEncoder, timm
from pipeline.released import beit
from pipeline.released.beit import BASE, backbone_config

TINY = replace(BASE, image_size=32, patch_size=8, depth=3, embed_dim=16, num_heads=2, mlp_dim=32)
CLASSES = tuple("abcdefg")
EXTRA = {
    "mask_token": torch.zeros(1, 1, 16),
    "lm_head.weight": torch.zeros(5, 16),
    "cls_pt_layers.0.norm1.weight": torch.zeros(16),
    "rel_pos_bias.relative_position_index": torch.zeros(17, 17, dtype=torch.int64),
}


def reference(task, image_size=32):
    """timm's network with seeded weights."""
    torch.manual_seed(0)
    is_pretrained = task == "pretrained"
    model = timm.models.beit.Beit(
        img_size=image_size,
        patch_size=8,
        embed_dim=16,
        depth=3,
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


def imported(tmp_path, task, content, image_size=32, family="beit"):
    torch.save(content, tmp_path / "file.pth")
    config = replace(backbone_config(task, TINY), image_size=image_size)
    classes = () if task == "pretrained" else CLASSES
    return beit.read(tmp_path / "file.pth", task, config, classes, family)


def pixels(image_size=32):
    return torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))


def of_statistics(images, family):
    """Images in 0..1 as the family's networks want them."""
    mean, std = torch.tensor(STATISTICS[beit.STATISTICS[family]])[:, None, :, None, None]
    return (images - mean) / std


def assert_equal(ours, expected):
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() < 1e-5 * expected.square().mean().sqrt()


@pytest.mark.parametrize("family", ["beit", "beitv2"])
@pytest.mark.parametrize("image_size", [32, 48])
def test_classes_are_those_of_timm(tmp_path, family, image_size):
    network = reference("imagenet1k", image_size)
    content = {"model": network.state_dict()}
    model = imported(tmp_path, "imagenet1k", content, image_size, family)
    images = pixels(image_size)
    assert_equal(model(2 * images - 1), network(of_statistics(images, family)))


@pytest.mark.parametrize("family", ["beit", "beitv2"])
def test_a_pretrained_file_gives_an_image_encoder(tmp_path, family):
    network = reference("pretrained")
    model = imported(tmp_path, "pretrained", network.state_dict() | EXTRA, family=family)
    assert isinstance(model, ImageEncoder)
    images = pixels()
    expected = network.forward_features(of_statistics(images, family))
    assert_equal(model(2 * images - 1), expected)
    checkpoint.save(model, tmp_path / "model")
    assert_equal(checkpoint.load(tmp_path / "model")(2 * images - 1), expected)
