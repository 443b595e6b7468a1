"""Visual question answering (VL-BEiT §3.2): the fusion encoder's [T_CLS], or, as in BEiT-3, its
[I_CLS], is classified into the most frequent answers."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.backbone.layers import layer_norm
from model.backbone.vl_beit import BackboneInput, VLBeit
from model.checkpoint import Pretrained
from model.heads.common import Pooler, classifier, init_heads


@dataclass(frozen=True)
class VQAConfig:
    """A backbone and the answers that are classes; `answers[i]` is what logit i stands for."""

    backbone: BackboneConfig
    answers: tuple[str, ...]
    image_cls: bool = False  # pool [I_CLS], behind a norm, instead of [T_CLS] (BEiT-3)

    def __post_init__(self) -> None:
        if not self.answers or len(set(self.answers)) < len(self.answers):
            raise ValueError("answers: expected at least one, and none twice")

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "VQAConfig":
        """The inverse of `dataclasses.asdict`."""
        backbone, answers = BackboneConfig(**tree["backbone"]), tuple(tree["answers"])
        return cls(**{**tree, "backbone": backbone, "answers": answers})


class VQA(Pretrained, nn.Module):
    """Backbone, pooler and a classifier of two layers (VLMo)."""

    Config: ClassVar = VQAConfig

    def __init__(self, config: VQAConfig):
        super().__init__()
        self.config = config
        self.backbone = VLBeit(config.backbone)
        self.backbone.mask_token.requires_grad_(False)  # nothing is masked here
        self.backbone.freeze_unreached({"pair"})
        embed_dim = config.backbone.embed_dim
        norm = layer_norm(embed_dim, config.backbone.norm_eps) if config.image_cls else None
        self.pooler = Pooler(embed_dim, norm)
        self.classifier = classifier(embed_dim, 2 * embed_dim, len(config.answers))
        init_heads(config.backbone.init_std, self.pooler, self.classifier)

    @torch.no_grad()
    def init_bias_from_frequency(self, frequencies: Tensor) -> None:
        """Let a new classifier start from how often each answer is right, [answers] in 0..1
        (exclusive).

        Otherwise the first steps do little but learn these frequencies, and their gradients, equal
        for all questions, wash out what the backbone's [T_CLS] has of each (choice).
        """
        last = self.classifier[-1]
        assert isinstance(last, nn.Linear)
        last.bias.copy_(torch.logit(frequencies))

    def forward(
        self, pixels: Tensor, ids: Tensor, mask: Tensor, drop_path_noise: Tensor | None = None
    ) -> Tensor:
        """Logits of the answers [n, answers], fp32.

        Args:
            pixels: float [n, 3, size, size] in -1..1.
            ids: int64 [n, length], the questions.
            mask: bool [n, length], True for tokens.
            drop_path_noise: [n, depth, 3] numbers in [0, 1) for stochastic depth; None for
                evaluation.
        """
        pairs = BackboneInput(pixels, ids, mask, drop_path_noise=drop_path_noise)
        cls = self.backbone.cls_tokens(pairs)
        pooled = self.pooler(cls.image if self.config.image_cls else cls.text)
        return self.classifier(pooled).float()


def answerable(targets: Tensor) -> Tensor:
    """1.0 for the questions that have any answer among the classes, else 0.0: [n].

    targets: [n, answers] in 0..1.
    """
    return targets.any(dim=1).float()


def answer_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, summed over the answers and over the questions that have any among the
    classes (VLMo).

    logits, targets: [n, answers], targets in 0..1.
    """
    losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return (losses.sum(dim=1) * answerable(targets)).sum()
