"""What is trained, and one step of it. Nothing here waits for the device."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from model.checkpoint import Pretrained
from pipeline.training import collectives
from pipeline.training.data_parallel import WrappedModel
from pipeline.training.optim import AdamW


class Task:
    """What is trained; tasks derive from this."""

    model: Pretrained
    loss_weights: Mapping[str, float]  # of each loss in the sum

    @property
    def batches(self) -> Any:
        """A map-style data set: `MicroBatch`, the address of a micro-batch, to its samples as
        (nested dicts or tuples of) tensors."""
        raise NotImplementedError

    def prepare(self, module: nn.Module, batches: list[Any]) -> list[Any]:
        """This worker's micro-batches of a step, completed by what each needs of the others."""
        return batches

    def loss(self, module: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Losses of a micro-batch, each summed over its targets, through `module` (the model,
        wrapped where there are several workers)."""
        raise NotImplementedError

    def num_targets(self, batch: Any) -> dict[str, float]:
        """How many targets each loss of a micro-batch is summed over."""
        raise NotImplementedError

    def evaluate(self) -> dict[str, float]:
        """Metrics on validation data, on worker 0. A metric `score` selects the weights to keep."""
        raise NotImplementedError


def train_step(
    task: Task,
    wrapped: WrappedModel,
    optimizer: AdamW,
    batches: Sequence[Any],
    max_grad_norm: float,
    precision: str,
) -> dict[str, Tensor]:
    """`backward` on this worker's micro-batches, then `optimizer_step`; returns what both do."""
    wrapped.module.train()
    optimizer.zero_grad(set_to_none=True)
    losses = backward(task, wrapped, batches, precision)
    return {**losses, **optimizer_step(wrapped, optimizer, max_grad_norm)}


def backward(
    task: Task, wrapped: WrappedModel, batches: Sequence[Any], precision: str
) -> dict[str, Tensor]:
    """Gradients of the step's loss, in `.grad`; returns the losses, and their weighted sum `loss`.

    A loss is the sum over its targets divided by their number in the *global* batch, so the
    gradient does not depend on how the batch is split over workers and micro-batches. Gradients are
    averaged over workers: hence the factor `world_size`.

    batches: this worker's micro-batches of the step, on any device.
    """
    device = next(wrapped.module.parameters()).device
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    names, counts = _count_targets(task, batches, device)
    with autocast:
        batches = task.prepare(wrapped.module, [to_device(batch, device) for batch in batches])
    totals = torch.zeros_like(counts)
    for index, batch in enumerate(batches, 1):
        with nullcontext() if index == len(batches) else wrapped.no_sync():
            with autocast:
                losses = task.loss(wrapped.module, batch)
            weighted = [
                task.loss_weights[name] * losses[name] / count
                for name, count in zip(names, counts, strict=True)
            ]
            (torch.stack(weighted).sum() * collectives.world_size()).backward()
        totals += torch.stack([losses[name].detach() for name in names])
    means = (collectives.all_reduce_sum(totals) / counts).unbind()
    values = dict(zip(names, means, strict=True))
    weighted_means = (task.loss_weights[name] * mean for name, mean in values.items())
    return {"loss": sum(weighted_means, start=torch.zeros(())), **values}


def optimizer_step(
    wrapped: WrappedModel, optimizer: AdamW, max_grad_norm: float
) -> dict[str, Tensor]:
    """Update the weights, unless the gradient is not finite.

    The fused optimizer clips as it updates, and decides on the device whether to do anything.

    max_grad_norm: gradients with a larger norm are scaled down to it; 0: no clipping.
    Returns `grad_norm`, before clipping, and `finite`, 1 or 0.
    """
    gradients = [p.grad for p in wrapped.module.parameters() if p.grad is not None]
    norm: Any = nn.utils.get_total_norm(gradients)
    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # FSDP: that of all shards
    finite = norm.isfinite().float()
    # the optimizer divides gradients by `grad_scale`
    optimizer.grad_scale = (norm / max_grad_norm).clamp(min=1.0) if max_grad_norm > 0 else None
    optimizer.found_inf = 1.0 - finite
    optimizer.step()
    return {"grad_norm": norm, "finite": finite}


def to_device(batch: Any, device: torch.device) -> Any:
    """The tensors of a batch, or of nested dicts and named tuples of them, on a device."""
    if isinstance(batch, dict):
        return {name: to_device(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple):
        return type(batch)(*(to_device(value, device) for value in batch))
    return batch.to(device, non_blocking=True) if isinstance(batch, Tensor) else batch


def _count_targets(
    task: Task, batches: Sequence[Any], device: torch.device
) -> tuple[list[str], Tensor]:
    """The names of the losses, and how many targets each has in the global batch: float32 [losses],
    at least 1."""
    totals: dict[str, float] = {}
    for batch in batches:
        for name, count in task.num_targets(batch).items():
            totals[name] = totals.get(name, 0.0) + count
    counts = to_device(torch.tensor(list(totals.values()), dtype=torch.float32), device)
    return list(totals), collectives.all_reduce_sum(counts).clamp(min=1)
