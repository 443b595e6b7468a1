"""`loop.precision: auto`."""

import pytest
import torch

from pipeline.training import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("machine", "capabilities", "expected"),
    [
        ("x86_64", {"avx512_bf16": True}, "bf16"),
        ("AMD64", {"avx512_bf16": False, "amx_bf16": True}, "bf16"),
        ("x86_64", {"avx2": True, "avx512_f": True, "avx512_bf16": False}, "fp32"),
        ("aarch64", {}, "fp32"),
    ],
)
def test_auto_is_bf16_where_the_processor_multiplies_it(
    machine, capabilities, expected, monkeypatch
):
    monkeypatch.setattr(precision.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert precision.chosen("auto", CPU) == expected


@pytest.mark.parametrize("supported", [False, True])
def test_auto_is_bf16_where_the_gpu_multiplies_it(supported, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: supported)
    assert precision.chosen("auto", torch.device("cuda")) == ("bf16" if supported else "fp32")


@pytest.mark.parametrize("named", ["fp32", "bf16"])
def test_a_named_precision_stays(named, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: pytest.fail("nobody asked"))
    assert precision.chosen(named, CPU) == named
