"""What VQ-KD's decoder learns to predict: frozen features of every patch.

A teacher is a module with `dim` that takes images [batch, 3, size, size] in -1..1 (the
tokenizer's own input) and gives float32 [batch, patches, dim], row-major, without gradient.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.normalize import Normalize
from model.timm_import import import_timm

LUMA = (0.299, 0.587, 0.114)
CELLS = 2  # per side of a patch
BINS = 8  # orientations of half a turn
COLOR_WEIGHT = 1.0
HOG_WEIGHT = 1.5
BIAS = 0.3  # a constant feature, so that a gray, flat patch has a direction too
SOFT_EDGE = 0.5  # gradient (of a range of 2) at which a histogram reaches half of its full weight


class Network(nn.Module):
    """A frozen ViT-B/16 of timm's: patch tokens after the final norm, through its head where it has
    one."""

    name: str  # timm's
    statistics: str  # by which its images are normalized
    image_size, patch_size = 224, 16

    def __init__(self):
        super().__init__()
        self.model = (
            import_timm().create_model(self.name, pretrained=False).eval().requires_grad_(False)
        )
        self.normalize = Normalize(self.statistics)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over weights as timm or their publishers name them.

        Raises:
            RuntimeError: the tensors are not those of this model.
        """
        from timm.models.vision_transformer import checkpoint_filter_fn

        self.model.load_state_dict(checkpoint_filter_fn(state, self.model))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images of 224 px to [batch, 196, dim]."""
        features = self.model.forward_features(self.normalize(images))
        return self.model.head(features[:, 1:]).float()  # without the class token


class Clip(Network):
    """OpenAI's CLIP; its head is the visual projection (BEiTv2's choice)."""

    name, statistics, dim = "vit_base_patch16_clip_quickgelu_224.openai", "clip", 512


class Dino(Network):
    """DINO, which has no head."""

    name, statistics, dim = "vit_base_patch16_224.dino", "imagenet", 768


class Hog(nn.Module):
    """Training-free features: mean colors and histograms of oriented gradients of the cells of
    each patch (choice).

    2 x 2 cells a patch, each with three mean colors and eight orientations of half a turn; after
    Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection" (2005), with a soft
    limit instead of block norms.
    """

    luma: Tensor  # [1, 3, 1, 1]
    dim = CELLS * CELLS * (3 + BINS) + 1

    def __init__(self, patch_size: int):
        super().__init__()
        if patch_size % CELLS:
            raise ValueError(f"patch_size {patch_size} is not a multiple of {CELLS}")
        self.patch_size = patch_size
        self.register_buffer("luma", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images whose sides are a multiple of the patch size to [batch, patches, dim]."""
        images = images.float()
        cell = self.patch_size // CELLS
        colors = F.avg_pool2d(images, cell) * COLOR_WEIGHT
        edges = F.avg_pool2d(oriented_gradients((images * self.luma).sum(1)), cell)
        edges = edges / (edges.sum(1, keepdim=True) + SOFT_EDGE) * HOG_WEIGHT
        # [batch, 3 + bins, cells per column, cells per row]
        cells = torch.cat([colors, edges], dim=1)
        patches = F.pixel_unshuffle(cells, CELLS).flatten(2).transpose(1, 2)
        return F.pad(patches, (0, 1), value=BIAS)


def oriented_gradients(gray: Tensor) -> Tensor:
    """Gray images [batch, height, width] to gradient magnitudes by orientation, [batch, bins,
    height, width].

    Central differences, mirrored at the border. A magnitude is shared between the two nearest of
    the `BINS` orientations, which lie at 0, 1/8, 2/8, ... of half a turn.
    """
    padded = F.pad(gray[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]
    dx = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    dy = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    magnitude = torch.sqrt(dx * dx + dy * dy)
    orientation = torch.atan2(dy, dx).remainder(math.pi) / math.pi * BINS  # 0 ... BINS, a circle
    bins = torch.arange(BINS, device=gray.device).view(1, BINS, 1, 1)
    distance = (orientation[:, None] - bins).remainder(BINS)
    share = (1 - torch.minimum(distance, BINS - distance)).clamp(min=0)
    return magnitude[:, None] * share
