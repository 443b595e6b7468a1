"""Image classification (VL-BEiT §3.3): the mean of the patches' vectors, then a linear
classifier."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.backbone.layers import layer_norm
from model.backbone.vl_beit import VLBeit
from model.checkpoint import Pretrained
from model.heads.common import init_heads

HEAD_SCALE = 1e-3  # of the classifier's initial weights (BEiT, BEiTv2)


@dataclass(frozen=True)
class ClassificationConfig:
    """A backbone and the number of classes."""

    backbone: BackboneConfig
    classes: int
    text: bool = True  # keep what only texts and masks use, frozen; BEiT's models have none

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "ClassificationConfig":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**tree, "backbone": BackboneConfig(**tree["backbone"])})


class Classification(Pretrained, nn.Module):
    """Backbone, a norm of its own after the mean (in place of the backbone's final norm), and the
    classifier."""

    Config: ClassVar = ClassificationConfig

    def __init__(self, config: ClassificationConfig):
        super().__init__()
        self.config = config
        self.backbone = VLBeit(config.backbone, text=config.text)
        self.backbone.freeze_text()
        self.norm = layer_norm(config.backbone.embed_dim, config.backbone.norm_eps)
        self.head = nn.Linear(config.backbone.embed_dim, config.classes)
        init_heads(config.backbone.init_std, self.head)
        self.head.weight.data.mul_(HEAD_SCALE)

    def forward(self, pixels: Tensor, drop_path_noise: Tensor | None = None) -> Tensor:
        """Images to logits.

        Args:
            pixels: float [batch, 3, size, size] in -1..1.
            drop_path_noise: [batch, depth, 3] numbers in [0, 1) for stochastic depth; None for
                evaluation.

        Returns:
            [batch, classes], fp32.
        """
        last = len(self.backbone.blocks) - 1
        (features,) = self.backbone.image_features(pixels, [last], drop_path_noise)
        return self.head(self.norm(features[:, 1:].mean(dim=1))).float()  # without [I_CLS]
