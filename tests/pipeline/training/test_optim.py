"""Schedules at steps worked out by hand, and what weight decay leaves alone."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from model.backbone.config import BackboneConfig
from model.backbone.vl_beit import VLBeit
from model.heads.retrieval import Retrieval, RetrievalConfig
from pipeline.training.optim import (
    OptimParams,
    adamw,
    learning_rate,
    parameter_groups,
    set_learning_rate,
)
from tests.helpers.tiny import ROOT

PAPER = OptimParams(
    steps=480_000,
    lr=2e-3,
    min_lr=1e-5,
    warmup_steps=10_000,
    schedule="cosine",
    weight_decay=0.05,
    betas=[0.9, 0.999],
    eps=1e-8,
    max_grad_norm=3.0,
    head_lr_mult=1.0,
    layer_decay=1.0,
)
TINY = BackboneConfig(
    image_size=8,
    patch_size=4,
    depth=1,
    embed_dim=16,
    num_heads=2,
    mlp_dim=32,
    vocab_size=30,
    text_length=10,
    experts="mome",
    drop_path=0.0,
    init_std=0.02,
)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0),
        (1, 2e-7),
        (5000, 1e-3),
        (10_000, 2e-3),
        (245_000, 1.005e-3),
        (479_999, 1e-5 + 1.99e-3 / 2 * (1 + math.cos(math.pi * 469_999 / 470_000))),
    ],
)
def test_cosine_schedule(step, rate):
    assert learning_rate(step, PAPER) == pytest.approx(rate, rel=1e-9)


def test_linear_schedule_ends_at_zero():
    linear = replace(PAPER, schedule="linear", min_lr=0.0, steps=100, warmup_steps=10, lr=3e-5)
    assert [learning_rate(step, linear) for step in (0, 5, 10, 55)] == pytest.approx(
        [0, 1.5e-5, 3e-5, 1.5e-5]
    )
    assert learning_rate(100, linear) == 0


def test_what_is_not_decayed():
    model = Retrieval(RetrievalConfig(TINY))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kept = {
        names[id(p)]
        for group in parameter_groups(model, PAPER)
        if group["weight_decay"] == 0
        for p in group["params"]
    }
    expected = {
        name
        for name, p in model.named_parameters()
        if p.requires_grad
        and (
            p.ndim <= 1
            or name in {"backbone.image_positions", "backbone.text_positions", "backbone.image_cls"}
        )
    }
    assert kept == expected
    decayed = {name for name in names.values() if name not in kept}
    assert {"backbone.word_embed.weight", "backbone.blocks.0.attn.qkv.weight"} <= decayed


def test_the_mask_token_is_decayed_in_pretraining():
    model = VLBeit(TINY)
    decayed = [
        p
        for group in parameter_groups(model, PAPER)
        if group["weight_decay"] > 0
        for p in group["params"]
    ]
    assert any(p is model.mask_token for p in decayed)


def test_heads_have_their_own_multiplier():
    model = Retrieval(RetrievalConfig(TINY))
    optimizer = adamw(model, replace(PAPER, head_lr_mult=20.0))
    set_learning_rate(optimizer, 1e-4)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model.match.weight)] == pytest.approx(2e-3)
    assert (
        rates[id(model.backbone.word_embed.weight)]
        == rates[id(model.pooler.dense.weight)]
        == pytest.approx(1e-4)
    )


def test_layer_wise_decay_falls_from_the_head_to_the_embeddings():
    model = Retrieval(RetrievalConfig(replace(TINY, depth=12)))
    optimizer = adamw(model, replace(PAPER, layer_decay=0.65))
    set_learning_rate(optimizer, 1.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    backbone = model.backbone
    assert rates[id(model.match.weight)] == rates[id(backbone.norm.weight)] == 1
    assert rates[id(backbone.blocks[11].attn.qkv.weight)] == pytest.approx(0.65)
    assert rates[id(backbone.blocks[0].attn.qkv.weight)] == pytest.approx(0.65**12)
    assert (
        rates[id(backbone.image_positions)]
        == rates[id(backbone.patch_embed.weight)]
        == pytest.approx(0.65**13)
    )


def trained(make):
    """Weights after three steps, the third by an optimizer that took over the state of the
    first."""
    torch.manual_seed(0)
    model = VLBeit(TINY)
    optimizer = make(model)
    for step in range(3):
        if step == 2:
            state = optimizer.state_dict()
            optimizer = make(model)
            optimizer.load_state_dict(state)
        optimizer.zero_grad(set_to_none=True)
        sum(parameter.sin().sum() for parameter in model.parameters()).backward()
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_optimizer_is_that_of_torch_to_the_bit():
    theirs = trained(
        lambda model: torch.optim.AdamW(
            parameter_groups(model, PAPER),
            lr=PAPER.lr,
            betas=tuple(PAPER.betas),
            eps=PAPER.eps,
            fused=True,
        )
    )
    assert torch.equal(trained(lambda model: adamw(model, PAPER)), theirs)


def test_an_optimizer_step_does_not_import_the_compiler():
    """It takes more than a second, in each of the pipeline's many processes."""
    code = (
        "import sys; from tests.pipeline.training import test_optim as test; "
        "test.trained(lambda model: test.adamw(model, test.PAPER)); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
