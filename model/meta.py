"""Models without numbers: shapes alone, whatever the size."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

Model = TypeVar("Model", bound=nn.Module)


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
