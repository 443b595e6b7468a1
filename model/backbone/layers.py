"""The small parts of a Transformer block: self-attention without a key bias, the feed-forward
network, drop path.

What treats each token alone works on vectors of tokens in any order, [tokens, embed_dim].
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.fast_linear import Linear, linear

EPS = 1e-6  # LayerNorm epsilon (BEiT, VLMo); of backbones that ask for no other
SHORT = 128  # tokens up to which plain products are faster than a CPU's fused attention


def layer_norm(embed_dim: int, eps: float = EPS) -> nn.LayerNorm:
    """LayerNorm with the family's epsilon."""
    return nn.LayerNorm(embed_dim, eps=eps)


class Attention(nn.Module):
    """Multi-head self-attention. Queries and values have a bias, keys have none (as BEiT and
    VLMo)."""

    def __init__(self, embed_dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(embed_dim, 3 * embed_dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(embed_dim))
        self.v_bias = nn.Parameter(torch.zeros(embed_dim))
        self.proj = Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [batch, length, embed_dim]; mask bool [batch, 1, 1, length], True where a key may be
        attended to."""
        (attended,) = self.attend([self.project_qkv(x)], mask)
        return self.proj(attended)

    def project_qkv(self, x: Tensor) -> Tensor:
        """[..., embed_dim] to queries, keys and values, [..., 3 * embed_dim]."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return linear(x, self.qkv.weight, bias)

    def attend(self, parts: Sequence[Tensor], mask: Tensor | None) -> list[Tensor]:
        """As the function of this name, before `proj`."""
        return attend(parts, mask, self.num_heads)


def attend(parts: Sequence[Tensor], mask: Tensor | None, num_heads: int) -> list[Tensor]:
    """Queries, keys and values of sequences in consecutive parts, each [batch, length of the part,
    3 * embed_dim], to the heads' outputs in the same parts, each [batch, length of the part,
    embed_dim]."""
    qkv = [part.unflatten(2, (3, num_heads, -1)).permute(2, 0, 3, 1, 4) for part in parts]
    # each [batch, num_heads, length, head_dim]
    q, k, v = qkv[0] if len(qkv) == 1 else torch.cat(qkv, dim=3)
    attended = attention(q, k, v, mask).split([part.shape[1] for part in parts], dim=2)
    return [part.transpose(1, 2).flatten(2) for part in attended]


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax of the scaled products; each [batch, num_heads, length, head_dim].

    CPUs have no fused kernel for bf16 worth the name: its backward pass takes twice as long as
    plain products, and so does that for fp32 where sequences are short.
    """
    if q.device.type == "cpu" and (q.dtype == torch.bfloat16 or q.shape[-2] <= SHORT):
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if mask is not None:
            if mask.dtype == torch.bool:
                zeros = torch.zeros_like(mask, dtype=q.dtype)
                mask = zeros.masked_fill(~mask, float("-inf"))
            scores = scores + mask
        return torch.softmax(scores, dim=-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class FeedForward(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, embed_dim: int, mlp_dim: int):
        super().__init__()
        self.fc1 = Linear(embed_dim, mlp_dim)
        self.fc2 = Linear(mlp_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., embed_dim] to [..., embed_dim]."""
        return self.fc2(F.gelu(self.fc1(x)))


def drop_path_scale(noise: Tensor, rates: Tensor) -> Tensor:
    """Stochastic depth, per sample: what residual branches are multiplied by.

    Args:
        noise: [batch, depth, branches] numbers in [0, 1) drawn by the caller. They come from
            outside so that what a sample loses does not depend on which worker has it.
        rates: [depth] probabilities of dropping, in [0, 1).

    Returns:
        [batch, depth, branches], 0 where a branch is dropped and else 1 / (1 - rate).
    """
    rates = rates[:, None]
    return (noise >= rates) / (1.0 - rates)
