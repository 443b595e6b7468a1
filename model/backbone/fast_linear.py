"""x W^T + b. In fp32 on AMD's AVX-512 processors by oneDNN, which is twice as fast there as torch's
own choice: MKL keeps its AVX-512 kernels for Intel's. Everywhere else it is
`torch.nn.functional.linear`."""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Linear(nn.Linear):
    """torch's layer, as fast as the processor allows."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., in] times weight [out, in] transposed, plus bias [out]: [..., out]."""
    plain = (
        x.device.type != "cpu"
        or x.dtype != torch.float32
        or weight.dtype != torch.float32
        or x.numel() == 0
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or not _slow_mkl()
    )
    return F.linear(x, weight, bias) if plain else OneDNNLinear.apply(x, weight, bias)


class OneDNNLinear(Function):
    """`linear` of fp32 tensors on a CPU, by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        slopes = slope.flatten(0, -2)
        return (
            _product(slope, weight.T) if of_x else None,
            _product(slopes.T, x.flatten(0, -2).T) if of_weight else None,
            slopes.sum(0) if of_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(
        x, weight, bias, "none", [], ""
    )  # what torch's compiler calls


@cache
def _slow_mkl() -> bool:
    processor = torch.cpu.get_capabilities()
    return bool(
        processor.get("avx512_f")
        and "AMD" in processor.get("cpu_name", "")
        and torch.backends.mkldnn.is_available()
    )
