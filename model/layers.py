"""The small parts of a Transformer block: self-attention without a key bias, the feed-forward network, drop path."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6  # LayerNorm epsilon (BEiT, VLMo)


def layer_norm(width: int) -> nn.LayerNorm:
    """LayerNorm with the family's epsilon."""
    return nn.LayerNorm(width, eps=EPS)


class Attention(nn.Module):
    """Multi-head self-attention. Queries and values have a bias, keys have none (as BEiT and VLMo)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [batch, length, width]; mask bool [batch, 1, 1, length], True where a key may be attended to."""
        batch, length, width = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [batch, heads, length, head width]
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(x.transpose(1, 2).reshape(batch, length, width))


class FeedForward(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to [..., width]."""
        return self.fc2(F.gelu(self.fc1(x)))


def drop_path(branch: Tensor, rate: float, uniform: Tensor | None) -> Tensor:
    """Stochastic depth of a residual branch, per sample.

    Args:
        branch: [batch, length, width].
        rate: probability of dropping, in [0, 1).
        uniform: [batch] numbers in [0, 1) drawn by the caller, or None for no dropping (evaluation). They come from
            outside so that a sample's draw does not depend on which worker has the sample.
    """
    if uniform is None or rate == 0.0:
        return branch
    keep = (uniform >= rate).to(branch.dtype) / (1.0 - rate)
    return branch * keep[:, None, None]
