"""Brightness of an image: a linear layer on [I_CLS]. Goes to `model/heads/brightness.py`."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.backbone.vl_beit import VLBeit
from model.checkpoint import Pretrained
from model.heads.common import init_heads


@dataclass(frozen=True)
class BrightnessConfig:
    """A backbone is all there is to choose."""

    backbone: BackboneConfig

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "BrightnessConfig":
        """The inverse of `dataclasses.asdict`."""
        return cls(backbone=BackboneConfig(**tree["backbone"]))


class Brightness(Pretrained, nn.Module):
    """Backbone and a linear layer."""

    Config: ClassVar = BrightnessConfig

    def __init__(self, config: BrightnessConfig):
        super().__init__()
        self.config = config
        self.backbone = VLBeit(config.backbone)
        self.backbone.freeze_text()
        self.head = nn.Linear(config.backbone.embed_dim, 1)
        init_heads(config.backbone.init_std, self.head)

    def forward(self, pixels: Tensor, drop_path_noise: Tensor | None = None) -> Tensor:
        """Images float [n, 3, size, size] in -1..1 to brightness [n]."""
        cls = self.backbone.cls(pixels, drop_path_noise=drop_path_noise)
        return self.head(cls).float()[:, 0]
