"""A model that cannot fit is refused before it is built, and a run whose checkpoints cannot."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.training import machine_limits


def test_a_model_larger_than_the_memory_is_never_built():
    built = []

    def build():
        weights = nn.Parameter(torch.empty(1 << 24, 1 << 24))
        built.append(weights.device.type)
        return nn.ParameterList([weights])

    with pytest.raises(UserError, match=r"^params.yaml: size: weights, .* take [0-9,]+ GB; this"):
        machine_limits.check_memory(build, "params.yaml: size")
    assert built == ["meta"]
    machine_limits.check_memory(lambda: nn.Linear(3, 3), "params.yaml: size")


def test_a_disk_that_is_too_small_is_said_before_training(tmp_path, monkeypatch):
    model = nn.Linear(1000, 1000, bias=False)  # 4 MB, twelve with its moments
    sizes = {"free": 0}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(**sizes))
    with pytest.raises(UserError, match="checkpoints take about 0.0 GB, and 0.0 GB are free"):
        machine_limits.check_disk(model, tmp_path)
    sizes["free"] = 100_000_000
    machine_limits.check_disk(model, tmp_path)
    sizes["free"] = 20_000_000  # enough for the third, where two checkpoints are already
    with pytest.raises(UserError):
        machine_limits.check_disk(model, tmp_path)
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step:08d}.pt").write_bytes(bytes(12_000_000))
    machine_limits.check_disk(model, tmp_path)
