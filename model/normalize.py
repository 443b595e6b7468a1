"""Means and deviations of pixels, where a network wants others than this project's 0.5 and 0.5."""

import torch
from torch import Tensor, nn

# Mean and standard deviation of red, green and blue in 0..1.
STATISTICS = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}


class Normalize(nn.Module):
    """From images in -1..1 to images normalized by the statistics of this name."""

    mean: Tensor  # [3, 1, 1], of images in -1..1
    std: Tensor  # [3, 1, 1]

    def __init__(self, name: str):
        super().__init__()
        statistics = torch.tensor(STATISTICS[name], device="cpu")
        mean, std = statistics.view(2, 3, 1, 1)
        self.register_buffer("mean", 2 * mean - 1, persistent=False)
        self.register_buffer("std", 2 * std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[batch, 3, height, width] to the same; as they are, bit by bit, for `half`."""
        return (images - self.mean) / self.std
