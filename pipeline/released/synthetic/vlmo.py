"""VLMo's files with made-up weights."""

from pathlib import Path

import torch

from model.backbone.config import BackboneConfig
from pipeline.released import vlmo
from pipeline.released.synthetic import draw
from pipeline.released.vlmo import Task


def write(path: Path, task: Task, backbone: BackboneConfig, classes: int, seed: int) -> None:
    """A file for a task, of this size, as VLMo's training code saves it. Its bytes depend on the
    arguments and its own name alone."""
    shapes = vlmo.expected(task, backbone, [str(number) for number in range(classes)])
    torch.save({"state_dict": draw.weights(shapes.items(), seed)}, path)
