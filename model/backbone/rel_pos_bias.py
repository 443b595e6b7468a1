"""Biases of attention by relative position: an option that VL-BEiT does not mention and its
relatives have.

One set of tables for all blocks (BEiT), or one for each (BEiT after fine-tuning, VLMo). Patches have
an entry for each offset in rows and columns, and three for [I_CLS]: as query, as key, and with
itself. Tokens have one for each offset, [T_CLS] counting as the first token or having three of its
own (VLMo), and one entry stands for each direction between the modalities (VLMo). All start at
zero.
"""

import numpy as np
import torch
from torch import Tensor, nn

CLS_ENTRIES = 3


class RelativeBias(nn.Module):
    """The tables of all heads, and the biases that they give.

    text_cls: [T_CLS] has three entries of its own, the last of the text table, as [I_CLS] has.
    """

    image_index: Tensor  # int64 [1 + patches, 1 + patches], see the function of this name

    def __init__(self, num_heads: int, grid: int, text_length: int, *, text_cls: bool = False):
        super().__init__()
        self.text_length, self.text_cls = text_length, text_cls
        self.image_table = nn.Parameter(torch.zeros((2 * grid - 1) ** 2 + CLS_ENTRIES, num_heads))
        text_entries = 2 * text_length - 1 + (CLS_ENTRIES if text_cls else 0)
        self.text_table = nn.Parameter(torch.zeros(text_entries, num_heads))
        # text attends to image, image attends to text
        self.cross_table = nn.Parameter(torch.zeros(2, num_heads))
        self.register_buffer("image_index", image_index(grid), persistent=False)

    def forward(self, text: int, image: int) -> Tensor:
        """Biases [num_heads, text + image, text + image] of `text` tokens before `image` patches
        with [I_CLS]; either may be 0."""
        queries = []  # [text or image, text + image, num_heads] each
        if text:
            keys = [self.text_table[self._text_index(text)]]
            if image:
                keys.append(self.cross_table[0].expand(text, image, -1))
            queries.append(torch.cat(keys, dim=1))
        if image:
            keys = [self.image_table[self.image_index]]
            if text:
                keys.insert(0, self.cross_table[1].expand(image, text, -1))
            queries.append(torch.cat(keys, dim=1))
        return torch.cat(queries, dim=0).permute(2, 0, 1)

    def _text_index(self, text: int) -> Tensor:
        """The entry for each pair of `text` tokens, int64 [text, text].

        Raises:
            ValueError: the table is made for shorter texts; the entries of others would be read.
        """
        if text > self.text_length:
            raise ValueError(f"a text of {text} tokens; biases are made for {self.text_length}")
        position = torch.arange(text, device=self.text_table.device)
        index = position[:, None] - position[None, :] + self.text_length - 1
        if self.text_cls:
            _set_cls_entries(index, 2 * self.text_length - 1)
        return index

    def drop_text(self) -> None:
        """Remove what images alone never reach."""
        self.register_parameter("text_table", None)
        self.register_parameter("cross_table", None)


def image_index(grid: int) -> Tensor:
    """The entry for each pair of [I_CLS] and patches, int64 [1 + grid * grid, 1 + grid * grid], as
    BEiT orders them."""
    side = 2 * grid - 1
    row, column = np.divmod(np.arange(grid**2), grid)
    row_offset = row[:, None] - row[None, :] + grid - 1  # [patches, patches], 0 ... side - 1
    column_offset = column[:, None] - column[None, :] + grid - 1
    index = torch.zeros(1 + grid**2, 1 + grid**2, dtype=torch.int64, device="cpu")
    index[1:, 1:] = torch.from_numpy(row_offset * side + column_offset)
    _set_cls_entries(index, side**2)
    return index


def _set_cls_entries(index: Tensor, first: int) -> None:
    """Give the first token of [n, n] its three entries: as query, as key, and with itself."""
    index[0, :], index[:, 0], index[0, 0] = first, first + 1, first + 2


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
    from 1.01 to 1.5, is found by bisection and is the last that was tried (BEiT)."""
    low, high, ratio = 1.01, 1.5, 1.01
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (ratio**steps - 1) / (ratio - 1) > largest:
            high = ratio
        else:
            low = ratio
    positive = np.cumsum(ratio ** np.arange(steps))
    return np.concatenate([-positive[::-1], [0.0], positive])
