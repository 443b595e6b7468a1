"""Whether a model fits the machine, before it is built and before it is trained."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.training.train_state import KEPT_CHECKPOINTS, checkpoints

COPIES = 4  # weights, gradients and two moments of AdamW
SAVED_COPIES = 3  # weights and the moments


def check_memory(build: Callable[[], nn.Module], key: str) -> None:
    """Raises UserError where weights, gradients and optimizer take more than the whole memory of
    this machine and its GPUs; `key` is where the sizes stand."""
    with torch.device("meta"):
        needed = COPIES * _bytes(build())
    gpus = range(torch.cuda.device_count())
    memory = sum(torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus)
    memory = max(memory, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    if needed > memory:
        raise UserError(
            f"{key}: weights, gradients and optimizer take {needed / 1e9:,.0f} GB; this machine has "
            f"{memory / 1e9:,.0f} GB"
        )


def check_disk(model: nn.Module, work_dir: Path) -> None:
    """Raises UserError where the checkpoints of a run would not fit on the disk of its work
    folder."""
    there = sum(path.stat().st_size for path in checkpoints(work_dir))
    # one more is written before the oldest goes, then the best weights and the finished model
    needed = _bytes(model) * (SAVED_COPIES * (KEPT_CHECKPOINTS + 1) + 2) - there
    work_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work_dir).free
    if needed > free:
        raise UserError(
            f"{work_dir}: checkpoints take about {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB "
            "are free; make room, then run this again"
        )


def _bytes(model: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
