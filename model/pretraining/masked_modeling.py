"""Mask-then-predict (VL-BEiT §2.3): masked language, image and vision-language modeling with one
model.

    MLM    text alone     15% of the tokens masked, predict their ids
    MIM    image alone    blocks of patches masked, predict their visual tokens
    MVLM   pair           half of the tokens and blocks of patches masked at once, predict both from
                          one pass; or, in mode `separate`, each half masked in a pass of its own
                          beside the whole other half

MLM and the text half of MVLM share a head, MIM and the image half of MVLM share the other. Only
masked positions reach the heads. Each loss is a sum over masked positions, which the caller divides
by their number in the global batch.
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
from model.backbone.token_layout import ModalityTokens
from model.backbone.vl_beit import BackboneInput, VLBeit
from model.checkpoint import Pretrained
from model.pretraining.batches import ImageBatch, PairBatch, PretrainingBatch, TextBatch
from model.pretraining.mlm_head import Form, last_layer, mlm_head


@dataclass(frozen=True)
class MaskedModelingConfig:
    """The pretraining model: a backbone, the size of the visual vocabulary, and what the paper
    leaves open."""

    backbone: BackboneConfig
    codebook_size: int  # how many visual tokens there are
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
    """The backbone with its two prediction heads."""

    Config: ClassVar = MaskedModelingConfig

    def __init__(self, config: MaskedModelingConfig):
        super().__init__()
        self.config = config
        self.backbone = VLBeit(config.backbone)
        self.mlm_head = mlm_head(
            config.mlm_head, config.backbone.embed_dim, config.backbone.vocab_size
        )
        self.mim_head = nn.Linear(config.backbone.embed_dim, config.codebook_size)
        self.mlm_head.apply(partial(init_module, std=config.backbone.init_std))
        init_module(self.mim_head, config.backbone.init_std)

    def mlm(self, text: TextBatch) -> Tensor:
        """Logits [n, vocab_size] at the masked positions of texts alone, without stochastic
        depth."""
        (masked,) = self._encode([self._pass(text=text)])
        return F.linear(*self._text_head(masked.text))

    def mim(self, image: ImageBatch) -> Tensor:
        """Logits [n, codebook_size] at the masked positions of images alone, without stochastic
        depth."""
        (masked,) = self._encode([self._pass(image=image)])
        return self.mim_head(masked.image)

    def mvlm(self, text: TextBatch, image: ImageBatch) -> tuple[Tensor, Tensor]:
        """Logits [n, vocab_size] and [m, codebook_size] at the masked positions of pairs, both
        halves of which are masked, without stochastic depth."""
        (masked,) = self._encode([self._pass(text=text, image=image)])
        return F.linear(*self._text_head(masked.text)), self.mim_head(masked.image)

    def forward(self, batch: PretrainingBatch) -> dict[str, Tensor]:
        """Sums of the losses of the streams that the batch holds, over their masked positions:
        `mlm`, `mim`, `mvlm_text`, `mvlm_image`. All streams go through the backbone in one pass."""
        texts, images, pairs = batch
        passes = []  # texts first, then pairs, then images
        if texts is not None:
            passes.append(self._pass(text=texts, noise=texts.drop_path_noise))
        if pairs is not None:
            passes += self._pair_passes(pairs)
        if images is not None:
            passes.append(self._pass(image=images, noise=images.drop_path_noise))
        encoded = self._encode(passes)
        losses = {}
        if texts is not None:
            losses["mlm"] = self._text_loss(encoded.pop(0), texts)
        if images is not None:
            losses["mim"] = self._image_loss(encoded.pop(), images)
        if pairs is not None:  # one pass, or one for each half
            losses["mvlm_text"] = self._text_loss(encoded[0], pairs.text)
            losses["mvlm_image"] = self._image_loss(encoded[-1], pairs.image)
        return losses

    def _pair_passes(self, pairs: PairBatch) -> list[tuple[BackboneInput, ModalityTokens]]:
        """Both halves masked at once; or masked tokens beside the whole image, and then, with
        stochastic depth of its own, masked patches beside the whole text (VL-BEiT Figure 1)."""
        text, image, noise = pairs
        if self.config.mvlm_mode == "joint":
            return [self._pass(text, image, noise)]
        masked_text, _ = self._pass(text, image, noise)
        masked_image = replace(
            masked_text,
            text=text.whole_ids(),
            drop_path_noise=None if noise is None else 1 - noise,
        )
        return [
            (replace(masked_text, image_masked=None), self._positions(text=text)),
            (masked_image, self._positions(image=image)),
        ]

    def _encode(
        self, passes: Sequence[tuple[BackboneInput, ModalityTokens]]
    ) -> list[ModalityTokens]:
        """Final vectors at each pass's masked positions."""
        inputs, positions = zip(*passes, strict=True)
        return self.backbone.encode_at(inputs, positions)

    def _pass(
        self,
        text: TextBatch | None = None,
        image: ImageBatch | None = None,
        noise: Tensor | None = None,
    ) -> tuple[BackboneInput, ModalityTokens]:
        """What the backbone takes of a batch, and the masked positions, at which it is read."""
        backbone_input = BackboneInput(
            image=None if image is None else image.pixels,
            text=None if text is None else text.ids,
            text_mask=None if text is None else text.mask,
            image_masked=None if image is None else image.masked,
            drop_path_noise=noise,
        )
        return backbone_input, self._positions(text, image)

    def _positions(
        self, text: TextBatch | None = None, image: ImageBatch | None = None
    ) -> ModalityTokens:
        """Masked positions as the backbone counts them: [I_CLS] comes before an image's patches.
        None of a half that is not given."""
        if image is None:
            assert text is not None, "neither texts nor images"
            return ModalityTokens(text.masked_positions, text.masked_positions[:0])
        patches = image.masked_positions
        in_image = patches + patches // self.config.backbone.patches + 1
        return ModalityTokens(in_image[:0] if text is None else text.masked_positions, in_image)

    def _text_head(self, masked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return last_layer(self.mlm_head, masked, self.backbone.word_embed.weight)

    def _text_loss(self, masked: ModalityTokens, text: TextBatch) -> Tensor:
        return linear_cross_entropy(*self._text_head(masked.text), text.targets)

    def _image_loss(self, masked: ModalityTokens, image: ImageBatch) -> Tensor:
        assert image.targets is not None, "online tokens come before the loss"
        return linear_cross_entropy(
            masked.image, self.mim_head.weight, self.mim_head.bias, image.targets
        )
