"""Biases of attention by relative position: an option that VL-BEiT does not mention and its
relatives have.

One table for all blocks (BEiT). Patches have an entry for each offset in rows and columns, and
three for [I_CLS]: as query, as key, and with itself. Tokens have one for each offset, [T_CLS]
counting as the first token, and one entry stands for each direction between the modalities (VLMo).
All start at zero.
"""

import numpy as np
import torch
from torch import Tensor, nn

CLS_ENTRIES = 3


class RelativeBias(nn.Module):
    """The tables of all heads, and the biases that they give."""

    image_index: Tensor  # int64 [1 + patches, 1 + patches], see the function of this name

    def __init__(self, num_heads: int, grid: int, text_length: int):
        super().__init__()
        self.image_table = nn.Parameter(torch.zeros((2 * grid - 1) ** 2 + CLS_ENTRIES, num_heads))
        self.text_table = nn.Parameter(torch.zeros(2 * text_length - 1, num_heads))
        # text attends to image, image attends to text
        self.cross_table = nn.Parameter(torch.zeros(2, num_heads))
        self.register_buffer("image_index", image_index(grid), persistent=False)

    def forward(self, text: int, image: int) -> Tensor:
        """Biases [num_heads, text + image, text + image] of `text` tokens before `image` patches
        with [I_CLS]; either may be 0."""
        queries = []  # [text or image, text + image, num_heads] each
        if text:
            position = torch.arange(text, device=self.text_table.device)
            offset = position[:, None] - position[None, :] + len(self.text_table) // 2
            keys = [self.text_table[offset]]
            if image:
                keys.append(self.cross_table[0].expand(text, image, -1))
            queries.append(torch.cat(keys, dim=1))
        if image:
            keys = [self.image_table[self.image_index]]
            if text:
                keys.insert(0, self.cross_table[1].expand(image, text, -1))
            queries.append(torch.cat(keys, dim=1))
        return torch.cat(queries, dim=0).permute(2, 0, 1)

    def drop_text(self) -> None:
        """Remove what images alone never reach."""
        self.register_parameter("text_table", None)
        self.register_parameter("cross_table", None)


def image_index(grid: int) -> Tensor:
    """The entry for each pair of [I_CLS] and patches, int64 [1 + grid * grid, 1 + grid * grid], as
    BEiT orders them."""
    side = 2 * grid - 1
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    position = torch.stack([rows, columns]).flatten(1)  # [2, patches]
    # [2, patches, patches], each 0 ... side - 1
    offset = position[:, :, None] - position[:, None, :] + grid - 1
    index = torch.empty(1 + grid**2, 1 + grid**2, dtype=torch.int64)
    index[1:, 1:] = offset[0] * side + offset[1]
    index[0, :], index[:, 0], index[0, 0] = side**2, side**2 + 1, side**2 + 2
    return index


def resize_image_table(table: Tensor, grid: int) -> Tensor:
    """The table [entries, num_heads] of another grid for `grid` x `grid` patches (BEiT). Plain
    resizing hurts segmentation.

    Entries are taken to stand at offsets that grow geometrically up to the new largest offset, and
    a cubic spline through them is read at whole offsets. timm's function of this name needs a
    part of SciPy that is gone, and falls back to lines.
    """
    from scipy.interpolate import make_interp_spline

    side = round((len(table) - CLS_ENTRIES) ** 0.5)
    if side == 2 * grid - 1:
        return table
    offsets = geometric_offsets(side // 2, grid - 1)
    new_offsets = np.arange(1 - grid, grid).clip(offsets[0], offsets[-1])
    square = table[:-CLS_ENTRIES].detach().double().cpu().numpy().reshape(side, side, -1)
    for axis in (0, 1):
        square = make_interp_spline(offsets, square, k=min(3, side - 1), axis=axis)(new_offsets)
    patches = torch.from_numpy(square).flatten(0, 1).to(table)
    return torch.cat([patches, table[-CLS_ENTRIES:]])


def geometric_offsets(steps: int, largest: int) -> np.ndarray:
    """-largest ... 0 ... largest in 2 * steps + 1 steps: 0, 1, 1 + q, 1 + q + q^2, ... The ratio q,
    from 1.01 to 1.5, is found by bisection (BEiT)."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (ratio**steps - 1) / (ratio - 1) > largest:
            high = ratio
        else:
            low = ratio
    positive = np.cumsum(low ** np.arange(steps))
    return np.concatenate([-positive[::-1], [0.0], positive])
