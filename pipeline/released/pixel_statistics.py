"""Networks that want images normalized by other statistics than this project's 0.5 and 0.5: the
difference goes into the projection of patches, exactly, since nothing is padded there."""

import torch
from torch import nn

from model.normalize import STATISTICS


@torch.no_grad()
def fold(patch_embed: nn.Conv2d, statistics: str) -> None:
    """Change a projection of images normalized by the `STATISTICS` of this name into one that gives
    the same of these images in -1..1. For `half` it stays as it is, bit by bit."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in STATISTICS[statistics])
    weight, bias = patch_embed.weight.double(), patch_embed.bias
    assert bias is not None
    shift = weight * ((0.5 - mean) / std)[:, None, None]
    patch_embed.weight.copy_(weight * (0.5 / std)[:, None, None])
    bias.copy_(bias.double() + shift.sum(dim=(1, 2, 3)))
