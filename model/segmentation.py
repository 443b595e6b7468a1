"""Semantic segmentation (VL-BEiT §3.3): the image encoder, and UPerNet on the outputs of four of its blocks."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone import VLBeit
from model.config import BackboneConfig
from model.ratio import Ratio
from model.upernet import LEVELS, AuxiliaryHead, HeadConfig, Neck, UPerNet, resize

IGNORED = 255  # label of pixels without a class
AUXILIARY_LEVEL = 2  # of the pyramid: the map that the auxiliary head reads


@dataclass(frozen=True)
class SegmentationConfig:
    """A backbone and the sizes of the heads."""

    backbone: BackboneConfig
    head: HeadConfig

    def __post_init__(self) -> None:
        layers, depth = self.head.layers, self.backbone.depth
        if len(layers) != LEVELS or layers != sorted(layers) or layers[0] < 0 or layers[-1] != depth - 1:
            raise ValueError(f"layers: expected {LEVELS} blocks in order, the last {depth - 1}; found {layers}")

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "SegmentationConfig":
        """The inverse of `dataclasses.asdict`."""
        return cls(backbone=BackboneConfig(**tree["backbone"]), head=HeadConfig(**tree["head"]))


class Segmentation(nn.Module):
    """Backbone, neck and the two heads. Text experts and the final norm are not used."""

    Config: ClassVar = SegmentationConfig

    def __init__(self, config: SegmentationConfig):
        super().__init__()
        self.config = config
        self.backbone = VLBeit(config.backbone)
        self.backbone.freeze_text()
        width = config.backbone.width
        self.neck = Neck(width)
        self.decode_head = UPerNet(width, config.head)
        self.auxiliary_head = AuxiliaryHead(width, config.head)

    def pyramid(self, pixels: Tensor, uniforms: Tensor | None = None) -> list[Tensor]:
        """Pictures [n, 3, size, size] in -1..1 to four maps, the finest first; [I_CLS] is left out."""
        grid = self.config.backbone.grid
        outputs = self.backbone.image_features(pixels, self.config.head.layers, uniforms)
        return self.neck([x[:, 1:].transpose(1, 2).unflatten(2, (grid, grid)) for x in outputs])

    def logits(self, pixels: Tensor) -> Tensor:
        """Pictures [n, 3, size, size] in -1..1 to logits [n, classes, size, size], fp32."""
        return resize(self.decode_head(self.pyramid(pixels), None).float(), pixels.shape[2:])

    def forward(self, pixels: Tensor, labels: Tensor, uniforms: Tensor, dropout: Tensor) -> dict[str, Ratio]:
        """Losses of both heads over the pixels that have a class.

        Args:
            pixels: float [n, 3, size, size] in -1..1.
            labels: int64 [n, size, size], classes from 0, and 255 for pixels without one.
            uniforms: [n, depth, 3] numbers in [0, 1) for stochastic depth.
            dropout: [n, channels + auxiliary channels] numbers in [0, 1) for the heads' dropout.
        """
        maps = self.pyramid(pixels, uniforms)
        head = self.config.head
        decode, auxiliary = dropout.split([head.channels, head.auxiliary_channels], dim=1)
        return {"decode": pixel_loss(self.decode_head(maps, decode), labels),
                "auxiliary": pixel_loss(self.auxiliary_head(maps[AUXILIARY_LEVEL], auxiliary), labels)}


def pixel_loss(logits: Tensor, labels: Tensor) -> Ratio:
    """Cross-entropy in fp32 of logits [n, classes, h, w], enlarged to the labels [n, height, width]."""
    logits = resize(logits.float(), labels.shape[1:])
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return Ratio(total, (labels != IGNORED).sum().to(total.dtype))
