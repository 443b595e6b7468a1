"""AdamW with the family's decay exclusions and layer-wise rates, and the two learning-rate
schedules."""

import inspect
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.config.limits import Betas, Positive, ShareAboveZero

# Besides tensors of one dimension: position tables and CLS vectors (BEiT, BEiTv2; the text table is
# our addition).
NO_DECAY = ("positions", "pos_embed", "image_cls", "cls_token")


@dataclass(frozen=True)
class OptimParams:
    """Optimizer and schedule of a training run."""

    steps: int
    lr: float  # peak
    min_lr: float  # what the cosine approaches; 0 for a linear schedule that ends at 0
    warmup_steps: int  # linear from 0 to the peak, inclusive
    schedule: Literal["cosine", "linear"]
    weight_decay: float
    betas: Betas
    eps: Positive
    max_grad_norm: float  # the gradient is scaled down to this norm; 0: no clipping
    head_lr_mult: float  # of the learning rate of all but backbone and pooler
    # of the learning rate, from a layer of the backbone to the one below; 1: none
    layer_decay: ShareAboveZero


def learning_rate(step: int, params: OptimParams) -> float:
    """The rate of a step, counted from 0: linear warm-up, then a cosine or a line to `min_lr`."""
    if step < params.warmup_steps:
        return params.lr * step / params.warmup_steps
    progress = (step - params.warmup_steps) / max(params.steps - params.warmup_steps, 1)
    cosine = params.schedule == "cosine"
    factor = 0.5 * (1 + math.cos(math.pi * progress)) if cosine else 1 - progress
    return params.min_lr + (params.lr - params.min_lr) * factor


def layer_of(name: str, depth: int) -> int:
    """The layer of a parameter, for layer-wise decay (BEiT): 0 embeddings, n the n-th block, depth
    + 1 the rest."""
    path = name.split(".")
    if path[0] != "backbone" or path[1] in ("norm", "text_norm"):
        return depth + 1
    return int(path[2]) + 1 if path[1] == "blocks" else 0


def parameter_groups(model: nn.Module, params: OptimParams) -> list[dict[str, Any]]:
    """Groups by decay and by learning-rate multiplier (`scale`), in the order of the model's
    parameters."""
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    depth = _depth(model) if params.layer_decay != 1.0 else 0
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = parameter.ndim > 1 and not name.endswith(NO_DECAY)
        scale = 1.0 if name.startswith(("backbone.", "pooler.")) else params.head_lr_mult
        if depth:
            scale *= params.layer_decay ** (depth + 1 - layer_of(name, depth))
        group = groups.setdefault(
            (decayed, scale),
            {"params": [], "scale": scale, "weight_decay": params.weight_decay if decayed else 0.0},
        )
        group["params"].append(parameter)
    return list(groups.values())


def _depth(model: nn.Module) -> int:
    """Number of blocks of the backbone."""
    return sum(1 for _ in model.get_submodule("backbone.blocks").children())


class AdamW(torch.optim.AdamW):
    """torch's AdamW, unwrapped of the guards for those who compile optimizers: these import the
    compiler, which takes every process 1.6 s."""

    grad_scale: Tensor | None  # what the fused step divides gradients by
    found_inf: Tensor  # 1: the fused step does nothing; 0: it updates

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)


def adamw(model: nn.Module, params: OptimParams) -> AdamW:
    """The optimizer; `set_learning_rate` sets its rates before each step."""
    return AdamW(
        parameter_groups(model, params),
        lr=params.lr,
        betas=(params.betas[0], params.betas[1]),
        eps=params.eps,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's rate to `rate` times its multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
