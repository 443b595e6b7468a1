"""Cross-entropy over a large vocabulary that never holds more than a chunk of the logits.

Logits of 64,000 ids in fp32 take 256 KB a position, their gradient as much again. So a chunk of
positions at a time gets its logits, its loss and, as soon as these are known, its gradients;
nothing is computed twice.
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
    """Summed cross-entropy of the logits x [n, embed_dim] times weight [classes, embed_dim] plus
    bias [classes] against targets int64 [n], in chunks of about `chunk` logits.

    Products are in the precision of autocast, the rest in fp32.
    """
    return _LinearCrossEntropy.apply(x, weight, bias, targets, max(chunk // len(weight), 1))


class _LinearCrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, chunk: int
    ) -> Tensor:
        """chunk: how many positions are computed at a time."""
        device = x.device.type
        precision = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        )
        matrix, offset = weight.to(precision), bias.to(precision)
        loss = x.new_zeros((), dtype=torch.float32)
        x_grads, weight_grad, bias_grad = [], None, None
        x_chunks, target_chunks = x.to(precision).split(chunk), targets.split(chunk)
        for rows, labels in zip(x_chunks, target_chunks, strict=True):
            log_probs = linear(rows, matrix, offset).log_softmax(dim=1, dtype=torch.float32)
            loss -= log_probs.gather(1, labels[:, None]).sum()
            minus_one = log_probs.new_full((len(labels), 1), -1.0)
            logit_grads = log_probs.exp_().scatter_add_(1, labels[:, None], minus_one)
            chunk_bias_grad, logit_grads = logit_grads.sum(0), logit_grads.to(precision)
            x_grads.append(linear(logit_grads, matrix.T))
            chunk_weight_grad = linear(logit_grads.T, rows.T).to(weight.dtype)
            if weight_grad is None or bias_grad is None:
                weight_grad, bias_grad = chunk_weight_grad, chunk_bias_grad
            else:
                weight_grad.add_(chunk_weight_grad)
                bias_grad.add_(chunk_bias_grad)
        ctx.grads = torch.cat(x_grads).to(x.dtype), weight_grad, bias_grad
        return loss

    @staticmethod
    def backward(ctx: Any, loss_grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = ctx.grads
        del ctx.grads  # scaled in place, so they are good for one backward pass
        return *(grad.mul_(loss_grad) for grad in grads), None, None
