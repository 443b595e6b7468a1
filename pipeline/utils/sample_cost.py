"""What a training sample costs, and models without numbers: what the cost modules of tasks and of
pretraining share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from pipeline.utils.flops import Pass

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class SampleCost:
    """What one sample of a stream takes in a training step."""

    batch: int  # samples of a step, on all workers
    forward_flops: float
    passes: tuple[Pass, ...] = ()  # through the backbone
    head_bytes: float = 0.0  # that the heads keep for the backward pass
    loss_bytes: float = 0.0  # that the loss takes for a moment, of the whole micro-batch
    extra_flops: float = 0.0  # computed on top, without a backward pass
    shared_bytes: float = 0.0  # on each worker, whatever the size of the micro-batch


@dataclass(frozen=True)
class EvaluationCost:
    """What an evaluation computes."""

    description: str  # of what is counted: "5,000 images, 25,000 captions"
    flops: float


def on_meta(build: Callable[[], Model]) -> Model:
    """The model that `build` makes, on the meta device: shapes without numbers."""
    with torch.device("meta"), _WithoutInitialization():
        return build()


class _WithoutInitialization(TorchFunctionMode):
    """Draws no initial numbers. There are none on the meta device, and to draw them there torch
    imports its compiler, for seconds."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "trunc_normal_"):
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))
