"""Mask-then-predict (VL-BEiT §2.3): masked language, image and vision-language modelling with one model.

    MLM    text alone     15% of the tokens hidden, predict their ids
    MIM    picture alone  blocks of patches hidden, predict their visual tokens
    MVLM   pair           half of the tokens and blocks of patches hidden at once, predict both from one pass;
                          or, in mode `separate`, each half hidden in a pass of its own beside the whole other half

MLM and the text half of MVLM share a head, MIM and the image half of MVLM share the other. Only hidden places reach
the heads. Each loss is a sum over hidden places, which the caller divides by their number in the global batch.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone import VLBeit
from model.config import BackboneConfig
from model.init import init_module
from model.io import Pretrained
from model.mlm_head import Form, mlm_head


@dataclass(frozen=True)
class MaskedModelingConfig:
    """The pretraining model: a backbone, the size of the visual vocabulary, and what the paper leaves open."""

    backbone: BackboneConfig
    codes: int
    mlm_head: Form = "linear"  # choice; VLMo: transform
    mvlm_mode: Literal["joint", "separate"] = "joint"  # choice: VL-BEiT §2.3 can be read as either

    def __post_init__(self) -> None:
        if self.mvlm_mode not in ("joint", "separate"):
            raise ValueError(f"mvlm_mode: expected 'joint' or 'separate', found {self.mvlm_mode!r}")

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "MaskedModelingConfig":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**tree, "backbone": BackboneConfig(**tree["backbone"])})


class MaskedModeling(Pretrained, nn.Module):
    """The backbone with its two prediction heads.

    A stream is a dict of tensors. Text: `ids` int64 [batch, length], `mask` bool [batch, length] (True for tokens).
    Image: `pixels` float [batch, 3, size, size] in -1..1, `masked` bool [batch, patches]. Both: `places` int64 [n],
    the hidden places in the flattened [batch * length] or [batch * patches], and `targets` int64 [n].
    """

    Config: ClassVar = MaskedModelingConfig

    def __init__(self, config: MaskedModelingConfig):
        super().__init__()
        self.config = config
        self.backbone = VLBeit(config.backbone)
        self.mlm_head = mlm_head(config.mlm_head, config.backbone.width, config.backbone.vocab_size)
        self.mim_head = nn.Linear(config.backbone.width, config.codes)
        self.mlm_head.apply(partial(init_module, sigma=config.backbone.init_sigma))
        init_module(self.mim_head, config.backbone.init_sigma)

    def text_logits(self, hidden: Tensor, text: dict[str, Tensor]) -> Tensor:
        """Final-norm vectors [batch, length, width] to logits [n, vocab] at the hidden places."""
        hidden = hidden.flatten(0, 1)[text["places"]]
        if self.config.mlm_head == "tied":
            return self.mlm_head(hidden, self.backbone.word_embed.weight)
        return self.mlm_head(hidden)

    def image_logits(self, hidden: Tensor, image: dict[str, Tensor]) -> Tensor:
        """Final-norm vectors [batch, 1 + patches, width] to logits [n, codes] at the hidden patches."""
        return self.mim_head(hidden[:, 1:].flatten(0, 1)[image["places"]])

    def mlm(self, text: dict[str, Tensor], uniforms: Tensor | None = None) -> Tensor:
        """Logits [n, vocab] of a text alone."""
        return self.text_logits(self.backbone(text=text["ids"], text_mask=text["mask"], uniforms=uniforms).text, text)

    def mim(self, image: dict[str, Tensor], uniforms: Tensor | None = None) -> Tensor:
        """Logits [n, codes] of a picture alone."""
        encoded = self.backbone(image["pixels"], image_masked=image["masked"], uniforms=uniforms)
        return self.image_logits(encoded.image, image)

    def mvlm(self, text: dict[str, Tensor], image: dict[str, Tensor],
             uniforms: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [n, vocab] and [m, codes] of a pair, both halves of which have hidden places."""
        encoded = self.backbone(image["pixels"], text["ids"], text_mask=text["mask"], image_masked=image["masked"],
                                uniforms=uniforms)
        return self.text_logits(encoded.text, text), self.image_logits(encoded.image, image)

    def mvlm_separate(self, text: dict[str, Tensor], image: dict[str, Tensor],
                      uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """The same from two passes: hidden tokens beside the whole picture, hidden patches beside the whole text
        (VL-BEiT Figure 1). The second pass has stochastic depth of its own."""
        whole = text["ids"].flatten().index_copy(0, text["places"], text["targets"]).view_as(text["ids"])
        read = self.backbone(image["pixels"], text["ids"], text_mask=text["mask"], uniforms=uniforms)
        seen = self.backbone(image["pixels"], whole, text_mask=text["mask"], image_masked=image["masked"],
                             uniforms=1 - uniforms)
        return self.text_logits(read.text, text), self.image_logits(seen.image, image)

    def forward(self, batch: dict[str, dict[str, Any]]) -> dict[str, Tensor]:
        """Sums of the losses of the streams that the batch holds: `texts`, `images`, `pairs` (any may be absent)."""
        losses = {}
        if (texts := batch.get("texts")) is not None:
            losses["mlm"] = cross_entropy(self.mlm(texts["text"], texts["uniforms"]), texts["text"]["targets"])
        if (images := batch.get("images")) is not None:
            losses["mim"] = cross_entropy(self.mim(images["image"], images["uniforms"]), images["image"]["targets"])
        if (pairs := batch.get("pairs")) is not None:
            mvlm = self.mvlm if self.config.mvlm_mode == "joint" else self.mvlm_separate
            text, image = mvlm(pairs["text"], pairs["image"], pairs["uniforms"])
            losses["mvlm_text"] = cross_entropy(text, pairs["text"]["targets"])
            losses["mvlm_image"] = cross_entropy(image, pairs["image"]["targets"])
        return losses


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in fp32 of logits [n, classes], summed."""
    return F.cross_entropy(logits.float(), targets, reduction="sum")
