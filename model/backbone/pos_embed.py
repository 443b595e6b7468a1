"""Learned positions of an image's tokens, and what becomes of them at another resolution."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_image_positions(table: Tensor, grid: int) -> Tensor:
    """Positions [1, 1 + g*g, embed_dim] of a g x g grid as those of a `grid` x `grid` one.

    The row of [I_CLS] stays. Bicubic, align_corners off and no antialiasing, as BEiT, BEiTv2, VLMo
    and BEiT-3; timm's `resample_abs_pos_embed` antialiases by default, which gives other values.
    """
    cls, patches = table[:, :1], table[:, 1:]
    side = int(patches.shape[1] ** 0.5)
    if side == grid:
        return table
    square = patches.transpose(1, 2).reshape(1, -1, side, side)
    resized = F.interpolate(
        square.float(), size=(grid, grid), mode="bicubic", align_corners=False, antialias=False
    )
    return torch.cat([cls, resized.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)
