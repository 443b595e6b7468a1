"""Initialization "as BEiT" (VL-BEiT §3.1): truncated normals cut at one standard
deviation, and a depth rescale."""

import math

from torch import Tensor, nn

INIT_STD = 0.02  # BEiT's, for an embed_dim of 768


def truncated_normal_(tensor: Tensor, std: float = INIT_STD) -> Tensor:
    """Fill in place with N(0, std) cut at +-std, as BEiT's pretraining code does. What is drawn has
    0.54 of that standard deviation (0.0108 for 0.02)."""
    return nn.init.trunc_normal_(tensor, std=std, a=-std, b=std)


def init_module(module: nn.Module, std: float = INIT_STD) -> None:
    """For `nn.Module.apply`: weights of Linear, Conv and Embedding truncated normal, biases 0,
    LayerNorm 1 and 0."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
        truncated_normal_(module.weight, std)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def rescale_by_depth(weight: Tensor, layer: int) -> None:
    """Divide a weight in place by sqrt(2 * layer), layer = 1 ... depth (BEiT `fix_init_weight`)."""
    weight.data.div_(math.sqrt(2.0 * layer))
