"""Seeded weights for made-up files."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from pipeline.released.state_dict import Shape
from pipeline.utils import seeds


def weights(shapes: Iterable[tuple[str, Shape]], seed: int) -> dict[str, Tensor]:
    """float32 tensors of these names and shapes, each a function of its name and the seed. Numbers
    are of such size that every one matters to what comes out."""
    return {name: _drawn(name, shape, seed) for name, shape in shapes}


def _drawn(name: str, shape: Shape, seed: int) -> Tensor:
    noise = np.asarray(
        seeds.generator(seed, "released", name).standard_normal(shape, dtype=np.float32)
    )
    if name.endswith("running_var"):
        return torch.from_numpy(1 + 0.5 * np.abs(noise))
    if len(shape) == 1 and name.endswith("weight"):  # of a norm
        return torch.from_numpy(1 + 0.3 * noise)
    is_matrix = len(shape) > 1 and name.endswith("weight")
    scale = float(np.prod(shape[1:])) ** -0.5 if is_matrix else 0.3
    return torch.from_numpy(np.asarray(np.float32(scale) * noise))
