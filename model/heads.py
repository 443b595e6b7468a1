"""Heads that several downstream tasks share."""

import torch
from torch import Tensor, nn

SIGMA = 0.02  # of new heads (VLMo)


def init_head(module: nn.Module) -> None:
    """For `nn.Module.apply`: weights of a new head from N(0, 0.02), biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=SIGMA)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def classifier(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    """Two layers with a norm and GELU between (VLMo, whose heads have PyTorch's epsilon, 1e-5)."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, classes))


class Pooler(nn.Module):
    """tanh(Linear([T_CLS])): the vector of a fused pair (VLMo)."""

    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, cls: Tensor) -> Tensor:
        """[batch, width] to [batch, width] in -1..1."""
        return torch.tanh(self.dense(cls))
