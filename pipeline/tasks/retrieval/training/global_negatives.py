"""Negatives of a micro-batch from the global batch, whatever workers its samples are on.

ITC contrasts a pair with the whole global batch, and ITM's hard negatives come from all of it.
Where a worker's share fits into one micro-batch, features are gathered as they come. Where it does
not, the features of all micro-batches are computed first, without gradient, then the gradient of
ITC with respect to them; each micro-batch is then run once more and takes its own features'
gradients from there (GradCache: Gao et al., arXiv:2101.06983). So the gradient depends neither on
the number of workers nor on the number of micro-batches.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.backbone.config import PAD_ID
from model.heads.retrieval import (
    DropPathNoise,
    GlobalNegatives,
    HardNegatives,
    ImageTextPairs,
    ItcFeatures,
    ItcOutput,
    itc_loss,
    sample_hard_negatives,
)
from pipeline.data.transforms import images
from pipeline.tasks.retrieval.training.data import ENCODER_PASSES, PairBatch
from pipeline.training import collectives


class Matching(NamedTuple):
    """Which pairs ITM is about, and how hard their negatives are."""

    every: int  # it is about each pair, every second, …
    hardness: float  # exponent of the similarities' softmax; 1: VLMo's; 0: any of the batch


class StepBatch(NamedTuple):
    """A micro-batch, and its negatives from the global batch."""

    pairs: PairBatch
    negatives: GlobalNegatives


def head_inputs(batch: PairBatch) -> tuple[ImageTextPairs, DropPathNoise]:
    """The first two arguments of the model."""
    noise = batch.drop_path_noise
    return (
        ImageTextPairs(images.normalize(batch.pixels), batch.ids, batch.mask),
        DropPathNoise(noise[0], noise[1], noise[ENCODER_PASSES:]),
    )


def of_one_pass(batch: PairBatch, matching: Matching | None) -> GlobalNegatives:
    """The negatives of a worker's only micro-batch; without matching those of ITC alone."""

    def negatives(
        image_features: Tensor, text_features: Tensor, log_scale: Tensor
    ) -> tuple[Tensor, HardNegatives | None]:
        itc = _global_itc(image_features, text_features, log_scale)
        hard = None if matching is None else _HardNegatives(batch, itc, matching)
        return itc.loss, None if hard is None else hard.of_rows(slice(len(batch.ids)))

    return negatives


def of_several_passes(
    batches: Sequence[PairBatch], features: Sequence[ItcFeatures], matching: Matching | None
) -> list[GlobalNegatives]:
    """The negatives of each of a worker's micro-batches; without matching those of ITC alone.

    features: what the model makes of each, without gradient.
    """
    images_of_batches, texts_of_batches, _ = zip(*features, strict=True)
    leaves = [
        torch.cat(images_of_batches).requires_grad_(),
        torch.cat(texts_of_batches).requires_grad_(),
        features[0].log_scale.requires_grad_(),
    ]
    itc = _global_itc(*leaves)
    gradients = torch.autograd.grad(itc.loss, leaves)
    hard = None if matching is None else _HardNegatives(_joined(batches), itc, matching)
    total = itc.loss.detach()
    return [
        _CachedGradient(total, gradients, hard, index, len(batches))
        for index in range(len(batches))
    ]


class _CachedGradient:
    """Negatives of one micro-batch of several: in place of ITC, the inner product of its gradient
    and the features, and the micro-batch's share of the value."""

    def __init__(
        self,
        total: Tensor,
        gradients: Sequence[Tensor],
        hard: "_HardNegatives | None",
        index: int,
        count: int,
    ):
        size = len(gradients[0]) // count
        self.rows = slice(index * size, (index + 1) * size)
        by_image, by_text, by_scale = gradients
        self.gradients = (by_image[self.rows], by_text[self.rows], by_scale / count)
        self.value, self.hard = total / count, hard

    def __call__(
        self, image_features: Tensor, text_features: Tensor, log_scale: Tensor
    ) -> tuple[Tensor, HardNegatives | None]:
        by_image, by_text, by_scale = self.gradients
        linear = (image_features * by_image).sum() + (text_features * by_text).sum()
        linear = linear + (log_scale * by_scale).sum()
        itc = self.value + linear - linear.detach()
        return itc, None if self.hard is None else self.hard.of_rows(self.rows)


class _HardNegatives:
    """Hard negatives of every so-manieth of this worker's pairs, from the pairs of all workers."""

    @torch.no_grad()
    def __init__(self, pairs: PairBatch, itc: ItcOutput, matching: Matching):
        self.every = matching.every
        self.pixels = collectives.all_gather_with_grad(pairs.pixels)
        self.ids = collectives.all_gather_with_grad(pairs.ids)
        self.mask = collectives.all_gather_with_grad(pairs.mask)
        image_ids = collectives.all_gather_with_grad(pairs.image_ids)
        is_negative = pairs.image_ids[:, None] != image_ids[None, :]
        of_texts, of_images = (
            itc.text_logits * matching.hardness,
            itc.image_logits * matching.hardness,
        )
        noise = pairs.negative_noise
        self.image_index = sample_hard_negatives(of_texts, is_negative, noise[:, 0])
        self.text_index = sample_hard_negatives(of_images, is_negative, noise[:, 1])

    def of_rows(self, rows: slice) -> HardNegatives:
        """Those of some of this worker's pairs; the rows begin with a matched one."""
        matched = slice(rows.start, rows.stop, self.every)
        image, text = self.image_index[matched], self.text_index[matched]
        return HardNegatives(images.normalize(self.pixels[image]), self.ids[text], self.mask[text])


def of_equal_length(batches: Sequence[PairBatch]) -> list[PairBatch]:
    """The micro-batches with texts padded to the longest of all micro-batches of all workers, so
    that they can be exchanged."""
    longest = collectives.all_reduce_max(max(batch.ids.shape[1] for batch in batches))
    padded = []
    for batch in batches:
        missing = (0, longest - batch.ids.shape[1])
        ids = F.pad(batch.ids, missing, value=PAD_ID)
        mask = F.pad(batch.mask, missing, value=False)
        padded.append(batch._replace(ids=ids, mask=mask))
    return padded


def _joined(batches: Sequence[PairBatch]) -> PairBatch:
    """All micro-batches as one; without stochastic depth's noise, which negatives do not need."""
    pixels, ids, mask, image_ids, negative_noise, _ = zip(*batches, strict=True)
    return batches[0]._replace(
        pixels=torch.cat(pixels),
        ids=torch.cat(ids),
        mask=torch.cat(mask),
        image_ids=torch.cat(image_ids),
        negative_noise=torch.cat(negative_noise),
    )


def _global_itc(image_features: Tensor, text_features: Tensor, log_scale: Tensor) -> ItcOutput:
    """ITC of this worker's pairs against the global batch."""
    return itc_loss(
        image_features,
        text_features,
        log_scale,
        collectives.all_gather_with_grad,
        collectives.rank() * len(image_features),
    )
