"""The order of candidates by score, as the official counts take it: of equals the first one."""

import torch
from torch import Tensor


def best_first(scores: Tensor, k: int) -> Tensor:
    """Indices of the `k` best of each row, or of all where there are fewer: int64 [..., k]. The
    first of them is what `argmax` gives; `topk` promises no order of equals."""
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :k]


def ranks(scores: Tensor, relevant: Tensor) -> Tensor:
    """How many irrelevant candidates come before the first relevant one.

    scores: [queries, candidates], finite; relevant: bool of the same shape, at least one True per
    row. int64 [queries].
    """
    masked = scores.masked_fill(~relevant, float("-inf"))
    best, first = masked.max(dim=1, keepdim=True)
    earlier = torch.arange(scores.shape[1], device=scores.device) < first
    ahead = (scores > best) | ((scores == best) & earlier)
    return (ahead & ~relevant).sum(dim=1)
