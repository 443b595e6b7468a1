"""x W^T + b. In fp32 on AMD's AVX-512 processors by oneDNN, which is twice as fast there as torch's
own choice: MKL uses its AVX-512 kernels on Intel's alone. Everywhere else it is
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
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)  # [n, out]
        return (
            _product(grad, weight.T) if needs_x else None,
            _product(rows.T, x.flatten(0, -2).T) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # What torch's compiler calls.
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@cache
def _slow_mkl() -> bool:
    processor = torch.cpu.get_capabilities()
    return bool(
        processor.get("avx512_f")
        and "AMD" in processor.get("cpu_name", "")
        and torch.backends.mkldnn.is_available()
    )
