"""NLVR2 (VL-BEiT §3.2): is a statement true of two images? Two fused pairs with the same text, one
decision: from two pooled [T_CLS]; as in BEiT-3, from [I_CLS] and [T_CLS] of both as they are; or, by
choice, from two pooled means of the statement's other tokens (see `model.heads.retrieval`)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.backbone.layers import layer_norm
from model.backbone.vl_beit import BackboneInput, VLBeit
from model.checkpoint import Pretrained
from model.heads.common import Pooler, classifier, init_heads, mean_without_cls


@dataclass(frozen=True)
class NLVR2Config:
    """A backbone, and which of its vectors are classified."""

    backbone: BackboneConfig
    image_cls: bool = False  # [I_CLS] beside [T_CLS], behind a norm and without pooler (BEiT-3)
    pooling: str = "cls"  # what is pooled: [T_CLS]; mean: the mean of the statement's other tokens

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "NLVR2Config":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**tree, "backbone": BackboneConfig(**tree["backbone"])})


class NLVR2(Pretrained, nn.Module):
    """Backbone, pooler and a classifier of two concatenated vectors (VLMo), or a classifier of four
    (BEiT-3)."""

    Config: ClassVar = NLVR2Config

    def __init__(self, config: NLVR2Config):
        super().__init__()
        self.config = config
        self.backbone = VLBeit(config.backbone)
        self.backbone.mask_token.requires_grad_(False)  # nothing is masked here
        self.backbone.freeze_unreached({"pair"})
        embed_dim = config.backbone.embed_dim
        self.pooler: nn.Module
        if config.image_cls:
            self.pooler = nn.Identity()
            layers = classifier(4 * embed_dim, 2 * embed_dim, 2)
            self.classifier = nn.Sequential(
                layer_norm(4 * embed_dim, config.backbone.norm_eps), *layers
            )
        else:
            self.pooler = Pooler(embed_dim)
            self.classifier = classifier(2 * embed_dim, 2 * embed_dim, 2)
        init_heads(config.backbone.init_std, self.pooler, self.classifier)

    def forward(
        self, pixels: Tensor, ids: Tensor, mask: Tensor, drop_path_noise: Tensor | None = None
    ) -> Tensor:
        """Logits [n, 2], fp32; index 1 says that the statement is true.

        Args:
            pixels: float [n, 2, 3, size, size] in -1..1, the left image first.
            ids: int64 [n, length], the statements.
            mask: bool [n, length], True for tokens.
            drop_path_noise: [n, 2, depth, 3] in [0, 1) for stochastic depth; None for evaluation.
        """
        pairs = BackboneInput(
            pixels.flatten(0, 1),
            ids.repeat_interleave(2, dim=0),
            text_mask=mask.repeat_interleave(2, dim=0),
            second_image=self._second(len(ids)),
            drop_path_noise=None if drop_path_noise is None else drop_path_noise.flatten(0, 1),
        )
        pooled = self.pooler(self._read(pairs))  # left, right, left, right, ...
        return self.classifier(pooled.view(len(ids), -1)).float()

    def _read(self, pairs: BackboneInput) -> Tensor:
        """What stands for each pair, [pairs, embed_dim], or twice as wide with `image_cls`."""
        if self.config.pooling == "mean":
            (encoded,) = self.backbone.encode([pairs])
            assert encoded.text is not None, "a pair has a text"
            return mean_without_cls(encoded.text, pairs.text_mask)
        cls = self.backbone.cls_tokens(pairs)
        # [I_CLS] comes before [T_CLS], as BEiT-3's tokens of images before those of texts
        return torch.cat([cls.image, cls.text], dim=1) if self.config.image_cls else cls.text

    def _second(self, statements: int) -> Tensor | None:
        """Which of left, right, left, right, ... are second images, bool [2 * statements]; None
        where the backbone makes no difference."""
        if not self.config.backbone.second_image_type:
            return None
        return torch.arange(2 * statements, device=self.backbone.image_cls.device) % 2 == 1
