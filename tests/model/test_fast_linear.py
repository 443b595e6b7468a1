"""Products by oneDNN are those of torch, forward and backward."""

import pytest
import torch
import torch.nn.functional as F

from model.backbone import fast_linear as products
from model.backbone.fast_linear import Linear, OneDNNLinear, linear


def gradients(y, inputs):
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad(y, inputs, slope)


@pytest.mark.parametrize("shape", [(37, 24), (3, 5, 24), (1, 24)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients(shape, biased):
    torch.manual_seed(0)
    tensors = [torch.randn(shape, requires_grad=True), torch.randn(40, 24, requires_grad=True)]
    tensors += [torch.randn(40, requires_grad=True)] if biased else []
    bias = tensors[2] if biased else None
    expected, actual = F.linear(*tensors[:2], bias), OneDNNLinear.apply(*tensors[:2], bias)
    torch.testing.assert_close(actual, expected)
    for one, other in zip(gradients(actual, tensors), gradients(expected, tensors), strict=True):
        torch.testing.assert_close(one, other)


def test_frozen_weights_have_no_gradient():
    layer = Linear(8, 4).requires_grad_(False)
    x = torch.randn(3, 8, requires_grad=True)
    linear(x, layer.weight, layer.bias).sum().backward()
    assert x.grad is not None and layer.weight.grad is None and layer.bias.grad is None


@pytest.mark.parametrize("case", ["other precision", "autocast", "no rows"])
def test_all_else_is_torchs(case, monkeypatch):
    monkeypatch.setattr(products, "_slow_mkl", lambda: True)
    monkeypatch.setattr(OneDNNLinear, "apply", lambda *_: pytest.fail("by oneDNN"))
    dtype = torch.float64 if case == "other precision" else torch.float32
    x, layer = torch.randn(0 if case == "no rows" else 3, 8, dtype=dtype), Linear(8, 4).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        actual = layer(x)
        expected = F.linear(x, layer.weight, layer.bias)
    assert actual.dtype == expected.dtype and torch.equal(actual, expected)


def test_exported_programs_hold_torchs_product(monkeypatch):
    monkeypatch.setattr(products, "_slow_mkl", lambda: True)
    program = torch.export.export(Linear(8, 4), (torch.randn(3, 8),))
    assert any("linear" in str(node.target) for node in program.graph.nodes)
    assert not any("mkldnn" in str(node.target) for node in program.graph.nodes)
