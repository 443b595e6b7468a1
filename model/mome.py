"""Mixture-of-Modality-Experts block (VL-BEiT §2.2): shared attention, one feed-forward expert per modality.

Text stands before the picture in every sequence, so routing is a split at one index, never a gather.
"""

import torch
from torch import Tensor, nn

from model.layers import Attention, FeedForward, drop_path, layer_norm

DROP_PATH_DRAWS = 3  # residual branches of a block: attention, text expert, image expert


class Expert(nn.Module):
    """A feed-forward network with its own norm: x to FFN(LN(x))."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm = layer_norm(width)
        self.mlp = FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.norm(x))


class MoMEBlock(nn.Module):
    """Pre-norm block. In the standard Transformer (Table 5) both modalities use one and the same expert."""

    def __init__(self, width: int, heads: int, hidden: int, *, experts: str, drop_rate: float):
        super().__init__()
        self.drop_rate = drop_rate
        self.norm = layer_norm(width)
        self.attn = Attention(width, heads)
        if experts == "mome":
            self.text_expert = Expert(width, hidden)
            self.image_expert = Expert(width, hidden)
        else:
            self.expert = Expert(width, hidden)

    def forward(self, x: Tensor, text_length: int, mask: Tensor | None, uniforms: Tensor | None) -> Tensor:
        """One block.

        Args:
            x: [batch, length, width], the first `text_length` of which are text.
            text_length: where the picture begins; 0 for pictures alone.
            mask: bool [batch, 1, 1, length], True for keys that may be attended to; None for all.
            uniforms: [batch, 3] draws for stochastic depth; None for none.
        """
        draws = (None,) * DROP_PATH_DRAWS if uniforms is None else uniforms.unbind(1)
        x = x + drop_path(self.attn(self.norm(x), mask), self.drop_rate, draws[0])
        if not hasattr(self, "text_expert"):
            return x + drop_path(self.expert(x), self.drop_rate, draws[1])
        parts = []
        if text_length > 0:
            text = x[:, :text_length]
            parts.append(text + drop_path(self.text_expert(text), self.drop_rate, draws[1]))
        if text_length < x.shape[1]:
            image = x[:, text_length:]
            parts.append(image + drop_path(self.image_expert(image), self.drop_rate, draws[2]))
        return torch.cat(parts, dim=1) if len(parts) == 2 else parts[0]

    def residual_projections(self) -> list[Tensor]:
        """The weights that write into the residual stream: what the depth rescale divides."""
        experts = [m for m in self.children() if isinstance(m, Expert)]
        return [self.attn.proj.weight, *(expert.mlp.fc2.weight for expert in experts)]
