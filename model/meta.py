"""Models without their initial numbers: shapes alone, or zeros to load weights into.

On the meta device torch does arithmetic in Python, and imports its compiler or SymPy for it, which
takes one to three seconds of a process. So a model that is built does none there: what it computes,
index tables and statistics, it computes on the CPU.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

Model = TypeVar("Model", bound=nn.Module)
# What initial weights are made with.
DRAWS = ("normal_", "uniform_", "kaiming_uniform_", "div_")


def on_meta(build: Callable[[], Model]) -> Model:
    """The model that `build` makes, on the meta device: shapes without numbers."""
    with torch.device("meta"), _ZerosForDraws():
        return build()


def undrawn(build: Callable[[], Model]) -> Model:
    """The model that `build` makes, with zeros where it draws initial weights: for weights to be
    loaded into. At base size the draws alone take half a minute."""
    with _ZerosForDraws():
        return build()


class _ZerosForDraws(TorchFunctionMode):
    """What tensors are filled with at random is zero, and stays so when it is scaled by depth."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in DRAWS:
            tensor = kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
            tensor.data.zero_()
            return tensor
        return func(*args, **(kwargs or {}))
