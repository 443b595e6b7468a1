"""The few collective operations that training needs. Without a process group they are those of one worker."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather


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
    """Concatenate [n, ...] of every worker along the rows, in order of rank. Floating-point rows keep their gradient:
    each worker receives the sum of the gradients that all workers have for its rows."""
    if world() == 1:
        return tensor
    if tensor.requires_grad:
        return torch.cat(all_gather(tensor))
    parts = [torch.empty_like(tensor) for _ in range(world())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def barrier() -> None:
    """Wait for all workers."""
    if world() > 1:
        dist.barrier()
