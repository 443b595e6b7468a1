"""Image-text retrieval (VL-BEiT §3.2): contrast the two encoders, match with the fusion encoder.

ITC contrasts [I_CLS] of every picture with [T_CLS] of every text of the global batch. ITM tells
true pairs from hard negatives, drawn by the contrastive similarity: one picture for each text and
one text for each picture. At test time the dual encoder ranks everything and the fusion encoder
re-ranks the top.
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
from model.heads.common import Pooler, init_heads

INITIAL_TEMPERATURE = 0.07  # CLIP, VLMo


@dataclass(frozen=True)
class RetrievalConfig:
    """A backbone is all there is to choose."""

    backbone: BackboneConfig

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "RetrievalConfig":
        """The inverse of `dataclasses.asdict`."""
        return cls(backbone=BackboneConfig(**tree["backbone"]))


class Pairs(NamedTuple):
    """True pairs, row by row."""

    pixels: Tensor  # float [n, 3, size, size] in -1..1
    ids: Tensor  # int64 [n, length]
    mask: Tensor  # bool [n, length], True for tokens


class Draws(NamedTuple):
    """Numbers in [0, 1) for the stochastic depth of every pass, drawn per sample by the caller."""

    image: Tensor  # [n, depth, 3] of the image encoder
    text: Tensor  # [n, depth, 3] of the text encoder
    fusion: Tensor  # [3, n, depth, 3] of the three fusion passes


class Wrong(NamedTuple):
    """Hard negatives, row by row."""

    pixels: Tensor  # float [n, 3, size, size], a wrong picture for each text
    ids: Tensor  # int64 [n, length], a wrong text for each picture
    mask: Tensor  # bool [n, length]


# What the rows of one pass learn of the whole batch: features of pictures and texts [n, embed_dim] and
# the log of the scale to the sum of ITC over the rows, and their hard negatives.
Rivals = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Wrong]]


class Retrieval(Pretrained, nn.Module):
    """Backbone, contrastive projections and matching head."""

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
        self.pooler = Pooler(embed_dim)
        self.match = nn.Linear(embed_dim, 2)  # index 1: the pair matches
        init_heads(
            config.backbone.init_std,
            self.image_projection,
            self.text_projection,
            self.pooler,
            self.match,
        )

    def encode_image(self, pixels: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """Pictures [n, 3, size, size] to unit vectors [n, embed_dim], fp32."""
        cls = self.backbone.cls(pixels, uniforms=uniforms)
        return F.normalize(self.image_projection(cls).float(), dim=-1)

    def encode_text(
        self, ids: Tensor, mask: Tensor | None, uniforms: Tensor | None = None
    ) -> Tensor:
        """Texts [n, length] to unit vectors [n, embed_dim], fp32; `mask` may be None where nothing is
        padded."""
        cls = self.backbone.cls(text=ids, text_mask=mask, uniforms=uniforms)
        return F.normalize(self.text_projection(cls).float(), dim=-1)

    def match_logits(
        self, pixels: Tensor, ids: Tensor, mask: Tensor | None, uniforms: Tensor | None = None
    ) -> Tensor:
        """Pairs, row by row, to logits [n, 2]; index 1 says that they belong together."""
        cls = self.backbone.cls(pixels, ids, text_mask=mask, uniforms=uniforms)
        return self.match(self.pooler(cls)).float()

    def forward(
        self, pairs: Pairs, draws: Draws, rivals: Rivals | None = None
    ) -> dict[str, Tensor]:
        """Sums of both losses over these rows, `itc` and `itm`; without `rivals` what they start
        from: the features `images` and `texts` [n, embed_dim], and `log_scale`."""
        images = self.encode_image(pairs.pixels, draws.image)
        texts = self.encode_text(pairs.ids, pairs.mask, draws.text)
        if rivals is None:
            return {"images": images, "texts": texts, "log_scale": self.log_scale.clone()}
        itc, wrong = rivals(images, texts, self.log_scale)
        return {"itc": itc, "itm": self.matching_loss(pairs, wrong, draws.fusion)}

    def matching_loss(self, pairs: Pairs, wrong: Wrong, uniforms: Tensor) -> Tensor:
        """Two-way cross-entropy over the true pair, a hard negative picture and a hard negative
        text, summed."""
        logits = self.match_logits(
            torch.cat([pairs.pixels, wrong.pixels, pairs.pixels]),
            torch.cat([pairs.ids, pairs.ids, wrong.ids]),
            torch.cat([pairs.mask, pairs.mask, wrong.mask]),
            uniforms.flatten(0, 1),
        )
        labels = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        labels[: len(pairs.ids)] = 1
        return cross_entropy(logits, labels)


class Contrasted(NamedTuple):
    """A few rows against the whole batch."""

    total: Tensor  # ITC, summed over the rows
    image_logits: Tensor  # [n, global], scaled similarities of the rows' pictures to all texts
    text_logits: Tensor  # [n, global], of the rows' texts to all pictures


def contrast(
    images: Tensor, texts: Tensor, log_scale: Tensor, gather: Callable[[Tensor], Tensor], first: int
) -> Contrasted:
    """ITC in fp32: the mean of both directions' cross-entropies.

    Args:
        images, texts: [n, embed_dim], unit vectors of this worker's rows.
        gather: concatenates a tensor [n, ...] of every worker along the rows, with gradient.
        first: index of this worker's first row in the gathered batch.
    """
    with torch.autocast(images.device.type, enabled=False):
        scale = log_scale.exp()
        image_logits = scale * images @ gather(texts).T
        text_logits = scale * texts @ gather(images).T
    own = torch.arange(first, first + len(images), device=images.device)
    total = (cross_entropy(image_logits, own) + cross_entropy(text_logits, own)) / 2
    return Contrasted(total, image_logits, text_logits)


def hard_negatives(logits: Tensor, rival: Tensor, uniform: Tensor) -> Tensor:
    """Draw one column per row with probability softmax(logits) among the rivals.

    Args:
        logits: [n, m] scaled similarities.
        rival: bool [n, m], False for columns that are no negatives (the row's own picture).
        uniform: [n] in [0, 1), the draw.

    Returns:
        int64 [n] column indices. A row without any rival draws its last column.
    """
    weights = (
        logits.float().softmax(dim=1) + 1e-9
    )  # the epsilon: a row may be all zero beside its own column
    cumulative = (weights * rival).double().cumsum(dim=1)
    places = torch.searchsorted(
        cumulative, uniform[:, None].double() * cumulative[:, -1:], right=True
    )
    return places[:, 0].clamp(max=logits.shape[1] - 1)
