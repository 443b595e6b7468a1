"""Image-text retrieval (VL-BEiT §3.2): contrast the two encoders, match with the fusion encoder.

ITC contrasts [I_CLS] of every image with [T_CLS] of every text of the global batch; or, by choice,
the means of patches and of words, which masked prediction trains and the class tokens' outputs it
does not, so that a short fine-tune has more of the pretraining. ITM tells true pairs from hard
negatives, drawn by the contrastive similarity: one image for each text and one text for each image.
At test time the dual encoder ranks everything and the fusion encoder re-ranks the top.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.chunked_cross_entropy import cross_entropy
from model.backbone.config import BackboneConfig
from model.backbone.vl_beit import VLBeit
from model.checkpoint import Pretrained
from model.heads.common import Pooler, init_heads, mean_without_cls

INITIAL_TEMPERATURE = 0.07  # CLIP, VLMo


@dataclass(frozen=True)
class RetrievalConfig:
    """A backbone; the heads follow from it."""

    backbone: BackboneConfig
    matching: bool = True  # by the fusion encoder; False: the dual encoder is all (VLMo, BEiT-3)
    pooling: str = "cls"  # what stands for an image or a text: its class token; mean: all others

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "RetrievalConfig":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**tree, "backbone": BackboneConfig(**tree["backbone"])})


class ImageTextPairs(NamedTuple):
    """True pairs, sample by sample."""

    pixels: Tensor  # float [n, 3, size, size] in -1..1
    ids: Tensor  # int64 [n, length]
    mask: Tensor  # bool [n, length], True for tokens


class DropPathNoise(NamedTuple):
    """Numbers in [0, 1) for the stochastic depth of every pass, drawn per sample by the caller."""

    image: Tensor  # [n, depth, 3] of the image encoder
    text: Tensor  # [n, depth, 3] of the text encoder
    fusion: Tensor  # [3, n, depth, 3] of the three fusion passes


class HardNegatives(NamedTuple):
    """A false image and a false text for each pair, or for every second, third, … one."""

    pixels: Tensor  # float [n, 3, size, size] in -1..1, for the pairs' texts
    ids: Tensor  # int64 [n, length], for the pairs' images
    mask: Tensor  # bool [n, length]


class ItcFeatures(NamedTuple):
    """What ITC is computed from."""

    images: Tensor  # [n, embed_dim], unit vectors
    texts: Tensor  # [n, embed_dim], unit vectors
    log_scale: Tensor  # [1], the log of what similarities are multiplied by


# From the `ItcFeatures` of one micro-batch to the sum of its ITC over the global batch, and, for
# models with matching, its hard negatives, which come from the global batch too.
GlobalNegatives = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, HardNegatives | None]]


class Retrieval(Pretrained, nn.Module):
    """Backbone, contrastive projections and, with `matching`, a matching head."""

    Config: ClassVar = RetrievalConfig

    def __init__(self, config: RetrievalConfig):
        super().__init__()
        self.config = config
        self.backbone = VLBeit(config.backbone)
        self.backbone.mask_token.requires_grad_(False)  # nothing is masked here
        embed_dim = config.backbone.embed_dim
        self.image_projection = nn.Linear(embed_dim, embed_dim, bias=False)
        self.text_projection = nn.Linear(embed_dim, embed_dim, bias=False)
        self.log_scale = nn.Parameter(
            torch.tensor([math.log(1 / INITIAL_TEMPERATURE)])
        )  # FSDP2 shards no scalars
        heads: list[nn.Module] = [self.image_projection, self.text_projection]
        if config.matching:
            self.pooler = Pooler(embed_dim)
            self.match = nn.Linear(embed_dim, 2)  # index 1: the pair matches
            heads += [self.pooler, self.match]
        else:
            self.backbone.freeze_unreached({"text", "image"})
        init_heads(config.backbone.init_std, *heads)

    def encode_image(self, pixels: Tensor, drop_path_noise: Tensor | None = None) -> Tensor:
        """Images [n, 3, size, size] to unit vectors [n, embed_dim], fp32."""
        if self.config.pooling == "mean":
            encoded = self.backbone(pixels, drop_path_noise=drop_path_noise)
            vector = mean_without_cls(encoded.image)
        else:
            vector = self.backbone.cls(pixels, drop_path_noise=drop_path_noise)
        return F.normalize(self.image_projection(vector).float(), dim=-1)

    def encode_text(
        self, ids: Tensor, mask: Tensor | None, drop_path_noise: Tensor | None = None
    ) -> Tensor:
        """Texts [n, length] to unit vectors [n, embed_dim], fp32; `mask` may be None where nothing
        is padded."""
        inputs = {"text": ids, "text_mask": mask, "drop_path_noise": drop_path_noise}
        if self.config.pooling == "mean":
            vector = mean_without_cls(self.backbone(**inputs).text, mask)
        else:
            vector = self.backbone.cls(**inputs)
        return F.normalize(self.text_projection(vector).float(), dim=-1)

    def match_logits(
        self,
        pixels: Tensor,
        ids: Tensor,
        mask: Tensor | None,
        drop_path_noise: Tensor | None = None,
    ) -> Tensor:
        """Pairs, sample by sample, to logits [n, 2]; index 1: they belong together."""
        cls = self.backbone.cls(pixels, ids, text_mask=mask, drop_path_noise=drop_path_noise)
        return self.match(self.pooler(cls)).float()

    def forward(
        self,
        pairs: ImageTextPairs,
        noise: DropPathNoise,
        global_negatives: GlobalNegatives | None = None,
    ) -> dict[str, Tensor] | ItcFeatures:
        """Sums of the losses over these pairs, `itc` and, of models with matching, `itm`; without
        `global_negatives` the features that they start from."""
        images = self.encode_image(pairs.pixels, noise.image)
        texts = self.encode_text(pairs.ids, pairs.mask, noise.text)
        if global_negatives is None:
            return ItcFeatures(images, texts, self.log_scale.clone())
        itc, negatives = global_negatives(images, texts, self.log_scale)
        if negatives is None:
            return {"itc": itc}
        matched = slice(None, None, len(pairs.ids) // len(negatives.ids))
        some = ImageTextPairs(*(part[matched] for part in pairs))
        return {"itc": itc, "itm": self.itm_loss(some, negatives, noise.fusion[:, matched])}

    def itm_loss(
        self, pairs: ImageTextPairs, negatives: HardNegatives, drop_path_noise: Tensor
    ) -> Tensor:
        """Two-way cross-entropy over the true pair, a hard negative image and a hard negative text,
        summed."""
        logits = self.match_logits(
            torch.cat([pairs.pixels, negatives.pixels, pairs.pixels]),
            torch.cat([pairs.ids, pairs.ids, negatives.ids]),
            torch.cat([pairs.mask, pairs.mask, negatives.mask]),
            drop_path_noise.flatten(0, 1),
        )
        labels = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        labels[: len(pairs.ids)] = 1
        return cross_entropy(logits, labels)


class ItcOutput(NamedTuple):
    """ITC of one worker's pairs against the global batch."""

    loss: Tensor  # summed over the pairs
    image_logits: Tensor  # [n, global], scaled similarities of the pairs' images to all texts
    text_logits: Tensor  # [n, global], of the pairs' texts to all images


def itc_loss(
    images: Tensor, texts: Tensor, log_scale: Tensor, gather: Callable[[Tensor], Tensor], first: int
) -> ItcOutput:
    """ITC in fp32: the mean of both directions' cross-entropies.

    Args:
        images, texts: [n, embed_dim], unit vectors of this worker's pairs.
        log_scale: [1], the log of what similarities are multiplied by.
        gather: concatenates a tensor [n, ...] of every worker along the first axis, with gradient.
        first: index of this worker's first pair in the global batch.
    """
    with torch.autocast(images.device.type, enabled=False):
        scale = log_scale.exp()
        image_logits = scale * images @ gather(texts).T
        text_logits = scale * texts @ gather(images).T
    targets = torch.arange(first, first + len(images), device=images.device)
    loss = (cross_entropy(image_logits, targets) + cross_entropy(text_logits, targets)) / 2
    return ItcOutput(loss, image_logits, text_logits)


def sample_hard_negatives(logits: Tensor, is_negative: Tensor, noise: Tensor) -> Tensor:
    """Draw one column per row with probability softmax(logits) among the negatives.

    Args:
        logits: [n, m] scaled similarities.
        is_negative: bool [n, m], False for columns that are no negatives (the row's own image).
        noise: [n] in [0, 1), one random number for each draw.

    Returns:
        int64 [n] column indices. A row without any negative draws its last column.
    """
    # The epsilon: a row may be all zero beside its own column.
    probabilities = logits.float().softmax(dim=1) + 1e-9
    cumulative = (probabilities * is_negative).double().cumsum(dim=1)
    thresholds = noise[:, None].double() * cumulative[:, -1:]
    columns = torch.searchsorted(cumulative, thresholds, right=True)
    return columns[:, 0].clamp(max=logits.shape[1] - 1)
