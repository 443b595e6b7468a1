"""Fine-tuning of image-text retrieval (VL-BEiT §3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.heads.retrieval import Retrieval, RetrievalConfig
from pipeline.config.limits import Count, Share
from pipeline.errors import UserError
from pipeline.tasks import Folders
from pipeline.tasks.retrieval.training import global_negatives
from pipeline.tasks.retrieval.training.data import (
    FUSION_PASSES,
    EvaluationSet,
    InputParams,
    PairBatch,
    PairBatches,
    evaluation_set,
)
from pipeline.tasks.retrieval.training.global_negatives import Matching, StepBatch, head_inputs
from pipeline.tasks.retrieval.training.metrics import dual_scores, mean_recall, recalls
from pipeline.tokenizers.text import TextTokenizer
from pipeline.training import loop, step


@dataclass(frozen=True)
class LossWeightParams:
    """Of the two losses in the sum."""

    itc: float
    itm: float  # 0: no matching, neither in training nor in evaluation (VLMo, BEiT-3)


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Block `finetune.<task>`: the keys of all fine-tunes, and these."""

    inputs: InputParams
    pooling: Literal["cls", "mean"]  # of the dual encoder
    loss_weights: LossWeightParams
    matching_every: Count  # ITM on each pair, on every second, …: it costs three fusion passes
    # How ITM's negatives are drawn: 1 by similarity (VLMo), 0 from all pairs of the batch alike
    negative_hardness: Share

    @property
    def matching(self) -> Matching | None:
        """How the fusion encoder is trained to match; None: the dual encoder is all."""
        if self.loss_weights.itm == 0:
            return None
        return Matching(self.matching_every, self.negative_hardness)


def check_matching(params: FineTuneParams) -> None:
    """Raises UserError where streams would differ in the pairs that are matched, so that the
    gradient would depend on the number of workers."""
    order = params.inputs.order
    if params.matching is not None and (order.batch_size // order.streams) % params.matching_every:
        raise UserError(
            f"matching_every {params.matching_every}: batch_size {order.batch_size} over streams "
            f"{order.streams} is not a multiple of it"
        )


class Task(step.Task):
    """Training and validation of retrieval."""

    model: Retrieval
    loss_weights: Mapping[str, float]
    matching: Matching | None

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        check_matching(params)
        self.params, self.folders = params, folders
        self.matching = params.matching
        self.loss_weights = {"itc": params.loss_weights.itc}
        if self.matching is not None:
            self.loss_weights["itm"] = params.loss_weights.itm
        self.tokenizer = TextTokenizer.load_for(folders.text_tokenizer, backbone.vocab_size)
        config = replace(backbone, image_size=params.inputs.image_size, drop_path=params.drop_path)
        matching = self.matching is not None
        self.model = Retrieval(RetrievalConfig(config, matching, params.pooling))

    @cached_property
    def batches(self) -> PairBatches:
        """Augmented training pairs."""
        depth = self.model.config.backbone.depth
        return PairBatches(
            self.folders.shards, self.tokenizer, self.params.inputs, depth, self.params.seed
        )

    @cached_property
    def validation(self) -> EvaluationSet:
        """The validation split, read once."""
        inputs = self.params.inputs
        data = evaluation_set(
            self.folders.shards, "val", self.tokenizer, inputs.image_size, inputs.text_length
        )
        return replace(data, pixels=data.all_pixels())

    def prepare(self, module: nn.Module, batches: list[PairBatch]) -> list[StepBatch]:
        """The micro-batches, each with its negatives from the global batch."""
        batches = global_negatives.of_equal_length(batches)
        if len(batches) == 1:
            return [StepBatch(batches[0], global_negatives.of_one_pass(batches[0], self.matching))]
        with torch.no_grad():
            features = [module(*head_inputs(batch)) for batch in batches]
        of_batches = global_negatives.of_several_passes(batches, features, self.matching)
        return [StepBatch(*both) for both in zip(batches, of_batches, strict=True)]

    def loss(self, module: nn.Module, batch: StepBatch) -> dict[str, Tensor]:
        """ITC over the global batch and, with matching, ITM with hard negatives from it."""
        return module(*head_inputs(batch.pairs), batch.negatives)

    def num_targets(self, batch: PairBatch) -> dict[str, float]:
        """Pairs, and those that are matched, each with its two negatives."""
        targets = {"itc": float(len(batch.ids))}
        if self.matching is not None:
            targets["itm"] = FUSION_PASSES * len(batch.ids) / self.matching.every
        return targets

    def evaluate(self) -> dict[str, float]:
        """Recalls of the dual encoder on the validation split; `score` is their mean."""
        scores = dual_scores(self.model, self.validation, self.params.evaluation_batch)
        recall = recalls(scores, scores.T, self.validation.image_indices)
        return {**recall, "score": mean_recall(recall)}
