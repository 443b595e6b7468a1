"""BEiT's files with made-up weights, as they are laid out officially: classifiers and pretrained
files of BEiT's and BEiTv2's own code, segmentation files of mmsegmentation."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.backbone.config import BackboneConfig
from model.backbone.rel_pos_bias import CLS_ENTRIES, image_index
from pipeline.released.beit import AUXILIARY_CHANNELS, POOL_SCALES, Task
from pipeline.released.state_dict import Shape
from pipeline.released.synthetic import draw

LEVELS = 4  # maps of UPerNet's pyramid
VISUAL_TOKENS = 64  # of the pretraining's head; 8,192 in the real ones


def write(path: Path, task: Task, backbone: BackboneConfig, classes: int, seed: int) -> None:
    """A file for a task, of this size. Its bytes depend on the arguments and its own name alone."""
    tensors = draw.weights(shapes(task, backbone, classes), seed)
    tensors |= _buffers(backbone, tensors)
    content: dict[str, Any] = {"model": tensors}
    if task == "ade20k":
        names = tuple(f"class {number}" for number in range(1, classes + 1))
        meta = {"CLASSES": names, "PALETTE": [[number % 256] * 3 for number in range(classes)]}
        content = {"meta": meta, "state_dict": tensors}
    torch.save(content, path)


def shapes(task: Task, backbone: BackboneConfig, classes: int) -> list[tuple[str, Shape]]:
    """The weights of a file by name, in its order."""
    dim, patch = backbone.embed_dim, backbone.patch_size
    table = (2 * backbone.grid - 1) ** 2 + CLS_ENTRIES, backbone.num_heads
    encoder: list[tuple[str, Shape]] = [("cls_token", (1, 1, dim))]
    encoder += _affine("patch_embed.proj", dim, 3, patch, patch)
    for index in range(backbone.depth):
        encoder += _block(f"blocks.{index}", backbone)
        if task != "pretrained":
            encoder.append((f"blocks.{index}.attn.relative_position_bias_table", table))
    if task == "ade20k":
        return [(f"backbone.{name}", shape) for name, shape in encoder] + _upernet(dim, classes)
    if task == "imagenet1k":
        return encoder + _affine("fc_norm", dim) + _affine("head", classes, dim)
    shared = [("mask_token", (1, 1, dim)), ("rel_pos_bias.relative_position_bias_table", table)]
    return encoder + shared + _affine("norm", dim) + _affine("lm_head", VISUAL_TOKENS, dim)


def _block(name: str, backbone: BackboneConfig) -> list[tuple[str, Shape]]:
    dim, hidden = backbone.embed_dim, backbone.mlp_dim
    vectors = ("gamma_1", "gamma_2", "attn.q_bias", "attn.v_bias")
    return [
        *((f"{name}.{vector}", (dim,)) for vector in vectors),
        *_affine(f"{name}.norm1", dim),
        (f"{name}.attn.qkv.weight", (3 * dim, dim)),
        *_affine(f"{name}.attn.proj", dim, dim),
        *_affine(f"{name}.norm2", dim),
        *_affine(f"{name}.mlp.fc1", hidden, dim),
        *_affine(f"{name}.mlp.fc2", dim, hidden),
    ]


def _upernet(dim: int, classes: int) -> list[tuple[str, Shape]]:
    """Neck and heads; the decode head has `dim` channels."""
    named = _affine("backbone.fpn1.0", dim, dim, 2, 2) + _norm("backbone.fpn1.1", dim)
    named += _affine("backbone.fpn1.3", dim, dim, 2, 2)
    named += _affine("backbone.fpn2.0", dim, dim, 2, 2)
    head = "decode_head"
    named += _affine(f"{head}.conv_seg", classes, dim, 1, 1)
    for scale in range(len(POOL_SCALES)):
        named += _convolution(f"{head}.psp_modules.{scale}.1", dim, dim, 1)
    named += _convolution(f"{head}.bottleneck", dim, (1 + len(POOL_SCALES)) * dim, 3)
    for level in range(LEVELS - 1):
        named += _convolution(f"{head}.lateral_convs.{level}", dim, dim, 1)
        named += _convolution(f"{head}.fpn_convs.{level}", dim, dim, 3)
    named += _convolution(f"{head}.fpn_bottleneck", dim, LEVELS * dim, 3)
    named += _affine("auxiliary_head.conv_seg", classes, AUXILIARY_CHANNELS, 1, 1)
    return named + _convolution("auxiliary_head.convs.0", AUXILIARY_CHANNELS, dim, 3)


def _convolution(name: str, outputs: int, inputs: int, kernel: int) -> list[tuple[str, Shape]]:
    """Without a bias, with a batch norm."""
    weight = (f"{name}.conv.weight", (outputs, inputs, kernel, kernel))
    return [weight, *_norm(f"{name}.bn", outputs)]


def _norm(name: str, channels: int) -> list[tuple[str, Shape]]:
    statistics = ("running_mean", "running_var")
    return _affine(name, channels) + [(f"{name}.{each}", (channels,)) for each in statistics]


def _affine(name: str, *shape: int) -> list[tuple[str, Shape]]:
    return [(f"{name}.weight", shape), (f"{name}.bias", shape[:1])]


def _buffers(backbone: BackboneConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a file has beside weights: index tables, and counters of batch norms."""
    buffers, index = {}, image_index(backbone.grid)
    for name in tensors:
        part, _, kind = name.rpartition(".")
        if kind == "relative_position_bias_table":
            buffers[f"{part}.relative_position_index"] = index
        if kind == "running_var":
            buffers[f"{part}.num_batches_tracked"] = torch.tensor(160_000)
    return buffers
