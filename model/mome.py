"""Mixture-of-Modality-Experts block (VL-BEiT §2.2): shared attention, one feed-forward expert per modality.

Text stands before the picture in every sequence, so routing is a split at one index, never a gather.
"""

from collections.abc import Collection

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
    """Pre-norm block. In the standard Transformer (Table 5) both modalities use one and the same expert.

    Options: a third expert for both halves of a pair (VLMo), and a learned factor for each channel of the residual
    branches, shared by the experts (BEiT's layer scale).
    """

    def __init__(self, width: int, heads: int, hidden: int, *, experts: str, drop_rate: float,
                 pair_expert: bool = False, layer_scale: float = 0.0):
        super().__init__()
        self.drop_rate = drop_rate
        self.norm = layer_norm(width)
        self.attn = Attention(width, heads)
        if experts == "mome":
            self.text_expert = Expert(width, hidden)
            self.image_expert = Expert(width, hidden)
        else:
            self.expert = Expert(width, hidden)
        self.pair_expert = Expert(width, hidden) if pair_expert else None
        self.attn_scale = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale else None
        self.ffn_scale = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale else None

    def forward(self, x: Tensor, text_length: int, mask: Tensor | None, uniforms: Tensor | None) -> Tensor:
        """One block.

        Args:
            x: [batch, length, width], the first `text_length` of which are text.
            text_length: where the picture begins; 0 for pictures alone.
            mask: bool [batch, 1, 1, length], True for keys that may be attended to, or what is added to the scores,
                float [batch or 1, heads, length, length]; None for neither.
            uniforms: [batch, 3] draws for stochastic depth; None for none.
        """
        draws = (None,) * DROP_PATH_DRAWS if uniforms is None else uniforms.unbind(1)
        x = x + drop_path(_scaled(self.attn(self.norm(x), mask), self.attn_scale), self.drop_rate, draws[0])
        if not hasattr(self, "text_expert"):
            return self._add(self.expert, x, draws[1])
        if self.pair_expert is not None and 0 < text_length < x.shape[1]:
            return self._add(self.pair_expert, x, draws[1])
        parts = []
        if text_length > 0:
            parts.append(self._add(self.text_expert, x[:, :text_length], draws[1]))
        if text_length < x.shape[1]:
            parts.append(self._add(self.image_expert, x[:, text_length:], draws[2]))
        return torch.cat(parts, dim=1) if len(parts) == 2 else parts[0]

    def _add(self, expert: Expert, x: Tensor, uniform: Tensor | None) -> Tensor:
        return x + drop_path(_scaled(expert(x), self.ffn_scale), self.drop_rate, uniform)

    def freeze_experts(self, uses: Collection[str]) -> None:
        """Take experts out of training that inputs of these kinds (`text`, `image`, `pair`) never reach."""
        if not hasattr(self, "text_expert"):
            return
        fused = {"pair"} if self.pair_expert is None else set()  # what reaches both experts
        for expert, alone in ((self.text_expert, "text"), (self.image_expert, "image")):
            if not {alone, *fused} & set(uses):
                expert.requires_grad_(False)
        if self.pair_expert is not None and "pair" not in uses:
            self.pair_expert.requires_grad_(False)

    def drop_text(self) -> None:
        """Remove the experts that pictures alone never reach; one for all tokens stays."""
        if hasattr(self, "text_expert"):
            self.text_expert = self.pair_expert = None

    def residual_projections(self) -> list[Tensor]:
        """The weights that write into the residual stream: what the depth rescale divides."""
        experts = [m for m in self.children() if isinstance(m, Expert)]
        return [self.attn.proj.weight, *(expert.mlp.fc2.weight for expert in experts)]


def _scaled(branch: Tensor, factor: Tensor | None) -> Tensor:
    return branch if factor is None else branch * factor
