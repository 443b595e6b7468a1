"""What is trained, and one step of it. Nothing here waits for the device."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.training import collectives
from pipeline.training.data_parallel import Replicas, Shards


class Task:
    """What is trained. Tasks derive from this."""

    model: nn.Module
    weights: Mapping[str, float]  # of the losses in the sum

    @property
    def batches(self) -> Any:
        """A map-style data set: `Part` of a step to its rows of the global batch (nested dicts of
        tensors)."""
        raise NotImplementedError

    def prepare(self, module: nn.Module, parts: list[Any]) -> list[Any]:
        """This worker's micro-batches of a step with what each needs to know of the others."""
        return parts

    def loss(self, module: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Losses of a micro-batch, each summed over its terms, through `module` (the model, wrapped
        where there are several workers)."""
        raise NotImplementedError

    def terms(self, batch: Any) -> dict[str, float]:
        """How many terms each loss of a micro-batch sums up."""
        raise NotImplementedError

    def evaluate(self) -> dict[str, float]:
        """Metrics on validation data, on worker 0. A metric `score` selects the weights to keep."""
        raise NotImplementedError


def optimise(
    task: Task,
    wrapped: Replicas | Shards,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[Any],
    clip: float,
    precision: str,
) -> dict[str, Tensor]:
    """One optimiser step on this worker's micro-batches; arguments and results as of `backward` and
    `update`."""
    wrapped.module.train()
    optimizer.zero_grad(set_to_none=True)
    values = backward(task, wrapped, parts, precision)
    return {**values, **update(wrapped, optimizer, clip)}


def update(
    wrapped: Replicas | Shards, optimizer: torch.optim.Optimizer, clip: float
) -> dict[str, Tensor]:
    """Move the weights; without a finite gradient they stay as they are.

    The fused optimiser clips as it goes, and looks on the device whether to do anything.

    clip: largest norm of the gradient; 0 for no clipping.
    Returns `grad_norm`, before clipping, and `finite`, 1 or 0.
    """
    norm = nn.utils.get_total_norm(
        [p.grad for p in wrapped.module.parameters() if p.grad is not None]
    )
    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # that of all shards
    finite = norm.isfinite().float()
    optimizer.grad_scale = (
        (norm / clip).clamp(min=1.0) if clip > 0 else None
    )  # gradients are divided by it
    optimizer.found_inf = 1.0 - finite
    optimizer.step()
    return {"grad_norm": norm, "finite": finite}


def backward(
    task: Task, wrapped: Replicas | Shards, parts: Sequence[Any], precision: str
) -> dict[str, Tensor]:
    """Gradients of the step's loss, in `.grad`; returns the losses.

    A loss is the sum over its terms divided by the number of terms in the *global* batch, so the
    gradient does not depend on how the batch is split over workers and passes. Gradients are
    averaged over workers: hence `world`.

    parts: this worker's micro-batches of the step.
    """
    device = next(wrapped.module.parameters()).device
    terms = [task.terms(part) for part in parts]
    names = list(terms[0])
    counts = to_device(
        torch.tensor([float(sum(one[name] for one in terms)) for name in names]), device
    )
    counts = collectives.sum_over_workers(counts).clamp(min=1)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        parts = task.prepare(wrapped.module, [to_device(part, device) for part in parts])
    totals = torch.zeros_like(counts)
    for number, part in enumerate(parts, 1):
        with wrapped.pass_of_step(last=number == len(parts)):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                losses = task.loss(wrapped.module, part)
            weighted = [
                task.weights[name] * losses[name] / count
                for name, count in zip(names, counts, strict=True)
            ]
            (torch.stack(weighted).sum() * collectives.world()).backward()
        totals += torch.stack([losses[name].detach() for name in names])
    means = dict(zip(names, (collectives.sum_over_workers(totals) / counts).unbind(), strict=True))
    return {"loss": sum(task.weights[name] * mean for name, mean in means.items()), **means}


def to_device(batch: Any, device: torch.device) -> Any:
    """The tensors of nested dicts on a device."""
    if isinstance(batch, dict):
        return {name: to_device(value, device) for name, value in batch.items()}
    return batch.to(device, non_blocking=True) if isinstance(batch, Tensor) else batch
