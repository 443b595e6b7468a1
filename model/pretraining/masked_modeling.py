"""Mask-then-predict (VL-BEiT §2.3): masked language, image and vision-language modelling with one
model.

    MLM    text alone     15% of the tokens hidden, predict their ids
    MIM    picture alone  blocks of patches hidden, predict their visual tokens
    MVLM   pair           half of the tokens and blocks of patches hidden at once, predict both from one pass;
                          or, in mode `separate`, each half hidden in a pass of its own beside the
                          whole other half

MLM and the text half of MVLM share a head, MIM and the image half of MVLM share the other. Only
hidden places reach the heads. Each loss is a sum over hidden places, which the caller divides by
their number in the global batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.chunked_cross_entropy import linear_cross_entropy
from model.backbone.config import BackboneConfig
from model.backbone.init import init_module
from model.backbone.token_layout import Rows
from model.backbone.vl_beit import Stream, VLBeit
from model.checkpoint import Pretrained
from model.pretraining.mlm_head import Form, last_layer, mlm_head


@dataclass(frozen=True)
class MaskedModelingConfig:
    """The pretraining model: a backbone, the size of the visual vocabulary, and what the paper
    leaves open."""

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

    A stream is a dict of tensors. Text: `ids` int64 [batch, length], `mask` bool [batch, length]
    (True for tokens) or None where nothing is padded. Image: `pixels` float [batch, 3, size, size]
    in -1..1, `masked` bool [batch, patches]. Both: `places` int64 [n], the hidden places in the
    flattened [batch * length] or [batch * patches], and `targets` int64 [n].
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

    def mlm(self, text: dict[str, Tensor]) -> Tensor:
        """Logits [n, vocab] of a text alone."""
        (hidden,) = self._hidden([self._pass(text)])
        return F.linear(*self._text_head(hidden.text))

    def mim(self, image: dict[str, Tensor]) -> Tensor:
        """Logits [n, codes] of a picture alone."""
        (hidden,) = self._hidden([self._pass(image=image)])
        return self.mim_head(hidden.image)

    def mvlm(self, text: dict[str, Tensor], image: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [n, vocab] and [m, codes] of a pair, both halves of which have hidden places."""
        (hidden,) = self._hidden([self._pass(text, image)])
        return F.linear(*self._text_head(hidden.text)), self.mim_head(hidden.image)

    def forward(self, batch: dict[str, dict[str, Any]]) -> dict[str, Tensor]:
        """Sums of the losses of the streams that the batch holds: `texts`, `images`, `pairs` (any
        may be absent). All streams go through the backbone in one pass."""
        texts, pairs, images = (batch.get(name) for name in ("texts", "pairs", "images"))
        passes = [] if texts is None else [self._pass(texts["text"], uniforms=texts["uniforms"])]
        passes += (
            []
            if pairs is None
            else self._pair_passes(pairs["text"], pairs["image"], pairs["uniforms"])
        )
        passes += (
            []
            if images is None
            else [self._pass(image=images["image"], uniforms=images["uniforms"])]
        )
        hidden = self._hidden(passes)
        losses = {}
        if texts is not None:
            losses["mlm"] = self._text_loss(hidden[0], texts["text"])
        if images is not None:
            losses["mim"] = self._image_loss(hidden[-1], images["image"])
        if pairs is not None:
            read, *seen = hidden[texts is not None : len(hidden) - (images is not None)]
            losses["mvlm_text"] = self._text_loss(read, pairs["text"])
            losses["mvlm_image"] = self._image_loss(seen[0] if seen else read, pairs["image"])
        return losses

    def _pair_passes(
        self, text: dict[str, Tensor], image: dict[str, Tensor], uniforms: Tensor | None
    ) -> list[tuple[Stream, Rows]]:
        """Both halves hidden at once; or hidden tokens beside the whole picture, and then, with
        stochastic depth of its own, hidden patches beside the whole text (VL-BEiT Figure 1)."""
        if self.config.mvlm_mode == "joint":
            return [self._pass(text, image, uniforms)]
        stream = _stream(text, image, uniforms)
        whole = (
            text["ids"]
            .flatten()
            .index_copy(0, text["places"], text["targets"])
            .view_as(text["ids"])
        )
        return [
            (replace(stream, image_masked=None), self._places(text)),
            (
                replace(stream, text=whole, uniforms=None if uniforms is None else 1 - uniforms),
                self._places(image=image),
            ),
        ]

    def _hidden(self, passes: Sequence[tuple[Stream, Rows]]) -> list[Rows]:
        """Vectors at each stream's hidden places."""
        return self.backbone.encode_at(*zip(*passes, strict=True))

    def _pass(
        self,
        text: dict[str, Tensor] | None = None,
        image: dict[str, Tensor] | None = None,
        uniforms: Tensor | None = None,
    ) -> tuple[Stream, Rows]:
        """A stream and its hidden places."""
        return _stream(text, image, uniforms), self._places(text, image)

    def _places(
        self, text: dict[str, Tensor] | None = None, image: dict[str, Tensor] | None = None
    ) -> Rows:
        """The hidden places of a stream's halves, as the backbone counts them: [I_CLS] comes before
        a picture's patches. Nothing of a half that is not given."""
        patches = self.config.backbone.patches
        nothing = (text or image)["places"][:0]
        return Rows(
            nothing if text is None else text["places"],
            nothing if image is None else image["places"] + image["places"] // patches + 1,
        )

    def _text_head(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return last_layer(self.mlm_head, hidden, self.backbone.word_embed.weight)

    def _text_loss(self, hidden: Rows, text: dict[str, Tensor]) -> Tensor:
        return linear_cross_entropy(*self._text_head(hidden.text), text["targets"])

    def _image_loss(self, hidden: Rows, image: dict[str, Tensor]) -> Tensor:
        return linear_cross_entropy(
            hidden.image, self.mim_head.weight, self.mim_head.bias, image["targets"]
        )


def _stream(
    text: dict[str, Tensor] | None = None,
    image: dict[str, Tensor] | None = None,
    uniforms: Tensor | None = None,
) -> Stream:
    text, image = text or {}, image or {}
    return Stream(
        image=image.get("pixels"),
        text=text.get("ids"),
        text_mask=text.get("mask"),
        image_masked=image.get("masked"),
        uniforms=uniforms,
    )
