"""BEiT-3's files with made-up weights."""

from pathlib import Path

import torch

from model.backbone.config import BackboneConfig
from pipeline.released import beit3
from pipeline.released.beit3 import Task
from pipeline.released.synthetic import draw


def write(path: Path, task: Task, backbone: BackboneConfig, classes: int, seed: int) -> None:
    """A file for a task, of this size, as BEiT-3's training code saves it. Its bytes depend on the
    arguments and its own name alone."""
    shapes = beit3.expected(task, backbone, [str(number) for number in range(classes)])
    torch.save({"model": draw.weights(shapes.items(), seed)}, path)
