"""The collective operations of training; without a process group there is one worker."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of workers."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This worker's index, from 0. Worker 0 evaluates, writes checkpoints and tracks."""
    return dist.get_rank() if dist.is_initialized() else 0


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all workers, without gradient."""
    if world_size() > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def all_reduce_max(value: int) -> int:
    """The largest of the workers' values."""
    if world_size() == 1:
        return value
    tensor = torch.tensor(value, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def all_gather_with_grad(tensor: Tensor) -> Tensor:
    """Concatenate the [n, ...] of every worker to [world_size * n, ...], in order of rank.

    Rows keep their gradient: each worker receives the sum, over all workers, of the gradients of
    its rows.
    """
    return tensor if world_size() == 1 else _AllGather.apply(tensor)


class _AllGather(torch.autograd.Function):
    """torch's own differentiable all_gather is deprecated, without a public successor."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows, tensor = len(tensor), tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient.contiguous())[rank() * ctx.rows :][: ctx.rows]


def barrier() -> None:
    """Wait for all workers."""
    if world_size() > 1:
        dist.barrier()
