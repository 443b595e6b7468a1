"""How far predictions are off."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pipeline.data.transforms import images


@torch.inference_mode()
def errors(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Predicted minus true brightness of all images, float32 [n]."""
    device = next(model.parameters()).device
    parts = []
    for pixels, truth in batches:
        parts.append(model(images.normalize(pixels.to(device))).cpu() - truth)
    return torch.cat(parts)
