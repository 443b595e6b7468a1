"""What the rows of one pass need of the step's other rows, on whatever worker these are.

ITC contrasts a row with the whole global batch, and ITM's hard negatives come from all of it. Where
a worker's share fits into one pass, features are gathered as they come. Where it does not, the
features of all passes are computed first, without gradient, then the gradient of ITC with respect
to them; each pass is then run once more and takes its own features' gradients from there
(GradCache: Gao et al., arXiv:2101.06983). So the gradient depends neither on the number of workers
nor on the number of passes.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.heads.retrieval import (
    GlobalNegatives,
    HardNegatives,
    ItcFeatures,
    ItcOutput,
    itc_loss,
    sample_hard_negatives,
)
from pipeline.data.transforms import images
from pipeline.tokenizers.text import SPECIAL_IDS
from pipeline.training import collectives

ROWS = (
    "pixels",
    "ids",
    "mask",
    "image",
    "negatives",
)  # of a batch, what negatives are chosen by and made of


def of_one_pass(batch: dict[str, Tensor]) -> GlobalNegatives:
    """For a worker whose rows are all in one pass."""

    def negatives(
        pictures: Tensor, texts: Tensor, log_scale: Tensor
    ) -> tuple[Tensor, HardNegatives]:
        found = _contrast(pictures, texts, log_scale)
        return found.loss, _Negatives(batch, found).of_rows(0, len(pictures))

    return negatives


def of_several(
    batches: Sequence[dict[str, Tensor]], features: Sequence[ItcFeatures]
) -> list[GlobalNegatives]:
    """One for each pass. features: what the model makes of each batch."""
    leaves = [
        torch.cat([micro_batch.images for micro_batch in features]),
        torch.cat([micro_batch.texts for micro_batch in features]),
        features[0].log_scale,
    ]
    found = _contrast(*(leaf.requires_grad_() for leaf in leaves))
    gradients = torch.autograd.grad(found.loss, leaves)
    whole = {name: torch.cat([batch[name] for batch in batches]) for name in ROWS}
    return [
        _Linear(found.loss.detach(), gradients, _Negatives(whole, found), number, len(batches))
        for number in range(len(batches))
    ]


class _Linear:
    """Negatives of one pass of several: in place of ITC, its gradient times the inputs, and its
    share of the value."""

    def __init__(
        self,
        total: Tensor,
        gradients: Sequence[Tensor],
        negatives: "_Negatives",
        number: int,
        passes: int,
    ):
        size = len(gradients[0]) // passes
        self.rows = (number * size, (number + 1) * size)
        rows = slice(*self.rows)
        self.gradients = (gradients[0][rows], gradients[1][rows], gradients[2] / passes)
        self.value, self.negatives = total / passes, negatives

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, HardNegatives]:
        linear = sum(
            (one * gradient).sum() for one, gradient in zip(inputs, self.gradients, strict=True)
        )
        return self.value + linear - linear.detach(), self.negatives.of_rows(*self.rows)


class _Negatives:
    """Hard negatives of this worker's rows, from the rows of all workers."""

    @torch.no_grad()
    def __init__(self, own: dict[str, Tensor], found: ItcOutput):
        self.everyone = {
            name: collectives.all_gather_with_grad(own[name])
            for name in ("pixels", "ids", "mask", "image")
        }
        is_negative = own["image"][:, None] != self.everyone["image"][None, :]
        self.picture = sample_hard_negatives(found.text_logits, is_negative, own["negatives"][:, 0])
        self.text = sample_hard_negatives(found.image_logits, is_negative, own["negatives"][:, 1])

    def of_rows(self, first: int, end: int) -> HardNegatives:
        """Those of some of the rows."""
        picture, text = self.picture[first:end], self.text[first:end]
        return HardNegatives(
            images.normalize(self.everyone["pixels"][picture]),
            self.everyone["ids"][text],
            self.everyone["mask"][text],
        )


def of_equal_length(batches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The batches with texts padded to the longest of all passes of all workers, so that rows can
    be exchanged."""
    longest = collectives.all_reduce_max(max(batch["ids"].shape[1] for batch in batches))

    def longer(rows: Tensor, value: int) -> Tensor:
        return F.pad(rows, (0, longest - rows.shape[1]), value=value)

    return [
        {
            **batch,
            "ids": longer(batch["ids"], SPECIAL_IDS["[PAD]"]),
            "mask": longer(batch["mask"], False),
        }
        for batch in batches
    ]


def _contrast(pictures: Tensor, texts: Tensor, log_scale: Tensor) -> ItcOutput:
    return itc_loss(
        pictures,
        texts,
        log_scale,
        collectives.all_gather_with_grad,
        collectives.rank() * len(pictures),
    )
