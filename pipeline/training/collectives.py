"""The few collective operations that training needs. Without a process group they are those of one
worker."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """Number of workers."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This worker's number, from 0. Worker 0 evaluates, writes checkpoints and tracks."""
    return dist.get_rank() if dist.is_initialized() else 0


def sum_over_workers(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all workers, without gradient."""
    if world() > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def largest(value: int) -> int:
    """The largest of the workers' numbers."""
    if world() == 1:
        return value
    tensor = torch.tensor(value, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def gather_rows(tensor: Tensor) -> Tensor:
    """Concatenate [n, ...] of every worker along the rows, in order of rank. Rows keep their
    gradient: each worker receives the sum of the gradients that all workers have for its rows."""
    return tensor if world() == 1 else _Gathered.apply(tensor)


class _Gathered(torch.autograd.Function):
    """Rows of all workers. torch's own differentiable gathering is deprecated, without a public
    successor."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows, tensor = len(tensor), tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(world())]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_workers(gradient.contiguous())[rank() * ctx.rows :][: ctx.rows]


def barrier() -> None:
    """Wait for all workers."""
    if world() > 1:
        dist.barrier()
