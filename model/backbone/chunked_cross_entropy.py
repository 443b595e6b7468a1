"""Cross-entropy over a large vocabulary that never holds more than a chunk of the logits.

Logits of 64,000 ids in fp32 take 256 KB a place, their gradient as much again. So a chunk of places
at a time gets its logits, its loss and, as soon as these are known, its gradients; nothing is
computed twice.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from model.backbone.fast_linear import linear

CHUNK = 64 * 2**20  # logits: 256 MB of fp32


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in fp32 of logits [n, classes], summed."""
    return F.cross_entropy(logits.float(), targets, reduction="sum")


def linear_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, chunk: int = CHUNK
) -> Tensor:
    """The same of x [n, embed_dim] times weight [classes, embed_dim] plus bias, in chunks of about `chunk`
    logits.

    Products are in the precision of autocast, the rest in fp32.
    """
    return _LinearCrossEntropy.apply(x, weight, bias, targets, max(chunk // len(weight), 1))


class _LinearCrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, places: int
    ) -> Tensor:
        device = x.device.type
        precision = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        )
        matrix, offset = weight.to(precision), bias.to(precision)
        loss = x.new_zeros((), dtype=torch.float32)
        rows, totals = [], None
        for part, own in zip(x.to(precision).split(places), targets.split(places), strict=True):
            scores = linear(part, matrix, offset).log_softmax(dim=1, dtype=torch.float32)
            loss -= scores.gather(1, own[:, None]).sum()
            slopes = scores.exp_().scatter_add_(
                1, own[:, None], scores.new_full((len(own), 1), -1.0)
            )
            bias_grad, slopes = slopes.sum(0), slopes.to(precision)
            rows.append(linear(slopes, matrix.T))
            grads = linear(slopes.T, part.T).to(weight.dtype), bias_grad
            totals = grads if totals is None else tuple(map(Tensor.add_, totals, grads))
        ctx.grads = torch.cat(rows).to(x.dtype), *totals
        return loss

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        grads = ctx.grads
        del ctx.grads  # scaled in place, so they are good for one backward pass
        return *(grad.mul_(slope) for grad in grads), None, None
