"""Heads that several downstream tasks share."""

import torch
from torch import Tensor, nn


def init_heads(std: float, *heads: nn.Module) -> None:
    """Weights of the linear layers of new heads from N(0, std), biases 0.

    std: the backbone's `init_std`, 0.02 at base size (VLMo). Narrower heads need more: with 0.02
        at embed_dim 128 the vectors of all pairs differ so little that NLVR2 does not leave chance
        in 160 steps.
    """
    for head in heads:
        for module in head.modules():
            if not isinstance(module, nn.Linear):
                continue
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def classifier(inputs: int, hidden_dim: int, classes: int) -> nn.Sequential:
    """Two layers with a norm and GELU between (VLMo, whose heads have PyTorch's epsilon, 1e-5)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden_dim),
        nn.LayerNorm(hidden_dim),
        nn.GELU(),
        nn.Linear(hidden_dim, classes),
    )


class Pooler(nn.Module):
    """tanh(Linear([T_CLS])): the vector of a fused pair (VLMo).

    norm: of what is pooled, where the backbone has none at its end (BEiT-3).
    """

    def __init__(self, embed_dim: int, norm: nn.Module | None = None):
        super().__init__()
        self.norm = norm
        self.dense = nn.Linear(embed_dim, embed_dim)

    def forward(self, cls: Tensor) -> Tensor:
        """[batch, embed_dim] to [batch, embed_dim] in -1..1."""
        return torch.tanh(self.dense(cls if self.norm is None else self.norm(cls)))


def mean_without_cls(tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean of all tokens but the class token, [n, embed_dim].

    tokens: [n, length, embed_dim], the class token first. mask: bool [n, length], True for tokens;
        None where nothing is padded.
    """
    tokens = tokens[:, 1:]
    if mask is None:
        return tokens.mean(dim=1)
    mask = mask[:, 1:]
    return (tokens * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
