"""The packed pretraining step against the plain one that its speed is compared with: with the same
weights, the same losses and gradients."""

import torch
from torch import nn

from benchmarks.plain import Plain
from benchmarks.training_step import random_batch
from model.backbone.config import BackboneConfig
from model.backbone.layers import EPS
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig

CODEBOOK_SIZE = 50
CONFIG = BackboneConfig(
    image_size=32,
    patch_size=8,
    depth=3,
    embed_dim=32,
    num_heads=2,
    mlp_dim=64,
    vocab_size=200,
    text_length=48,
    experts="mome",
    drop_path=0.5,
    init_std=0.3,
)


def named_alike(model, of):
    """What `of` makes of our parameters, by the plain model's names."""
    net = model.backbone
    modules = {
        "patches": net.patch_embed,
        "norm": net.norm,
        "text_head": model.mlm_head,
        "image_head": model.mim_head,
    }
    tensors = {
        "words.weight": of(net.word_embed.weight),
        "mask_token": of(net.mask_token)[0, 0],
        "cls": of(net.image_cls),
        "text_positions": of(net.text_positions)[0],
        "image_positions": of(net.image_positions)[0],
    }
    for number, block in enumerate(net.blocks):
        attention, name = block.attn, f"blocks.{number}"
        q, v = of(attention.q_bias), of(attention.v_bias)
        tensors |= {
            f"{name}.qkv.weight": of(attention.qkv.weight),
            f"{name}.qkv.bias": torch.cat([q, torch.zeros_like(q), v]),
        }
        modules |= {f"{name}.norm1": block.norm, f"{name}.proj": attention.proj}
        for modality, expert in (("text", block.text_expert), ("image", block.image_expert)):
            layers = {0: expert.norm, 1: expert.mlp.fc1, 3: expert.mlp.fc2}
            modules |= {
                f"{name}.experts.{modality}.{layer}": module for layer, module in layers.items()
            }
    return tensors | {
        f"{name}.{key}": of(tensor)
        for name, module in modules.items()
        for key, tensor in module.named_parameters()
    }


def test_the_packed_step_is_the_plain_one():
    torch.manual_seed(0)
    ours, plain = (
        MaskedModeling(MaskedModelingConfig(CONFIG, CODEBOOK_SIZE)),
        Plain(CONFIG, CODEBOOK_SIZE),
    )
    for module in plain.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = EPS
    plain.load_state_dict(named_alike(ours, torch.Tensor.detach))
    batch = random_batch(CONFIG, 4, CODEBOOK_SIZE, torch.device("cpu"))
    actual, expected = ours(batch), plain(batch)
    assert actual.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(actual[name], loss, rtol=1e-5, atol=0, msg=name)
    for losses in (actual, expected):
        sum(losses.values()).backward()
    gradients = named_alike(ours, lambda parameter: parameter.grad)
    for name, parameter in plain.named_parameters():
        assert 0 < parameter.grad.norm(), name
        assert (gradients[name] - parameter.grad).norm() <= 1e-5 * parameter.grad.norm(), name
