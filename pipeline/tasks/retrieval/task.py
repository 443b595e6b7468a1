"""Fine-tuning and evaluation of image-text retrieval (VL-BEiT §3.2)."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.heads.retrieval import DropPathNoise, ImageTextPairs, Retrieval, RetrievalConfig
from pipeline.data.transforms import images
from pipeline.tasks import Folders
from pipeline.tasks.image_text_inputs import PairParams
from pipeline.tasks.retrieval import global_negatives, visualize
from pipeline.tasks.retrieval.data import FUSION_PASSES, EvaluationSet, PairBatches, evaluation_set
from pipeline.tasks.retrieval.metrics import chance, mean_recall, recalls
from pipeline.tasks.retrieval.predict import dual_scores, rerank
from pipeline.tokenizers.text import TextTokenizer
from pipeline.training import loop, step


@dataclass(frozen=True)
class LossWeightParams:
    """Of the two losses in the sum."""

    itc: float
    itm: float


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Block `<scale>.finetune.<data>`: the keys of all fine-tunes stand beside these."""

    inputs: PairParams
    loss_weights: LossWeightParams


@dataclass(frozen=True)
class EvaluateParams:
    """Block `<scale>.evaluate.<data>`."""

    split: str
    rerank_k: int  # candidates that the dual encoder hands to the fusion encoder
    dual_weight: float  # of the cosine beside the match logit
    batch: int
    threads: int


class Task(step.Task):
    """What the loop needs to know of retrieval."""

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        self.params, self.folders = params, folders
        self.loss_weights = {"itc": params.loss_weights.itc, "itm": params.loss_weights.itm}
        self.tokenizer = TextTokenizer.load(folders.text_tokenizer)
        config = replace(backbone, image_size=params.inputs.image_size, drop_path=params.drop_path)
        self.model = Retrieval(RetrievalConfig(config))

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
        return evaluation_set(
            self.folders.shards, "val", self.tokenizer, inputs.image_size, inputs.text_length
        )

    def prepare(self, module: nn.Module, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The parts with what each needs of all rows of the step."""
        parts = global_negatives.of_equal_length(parts)
        if len(parts) == 1:
            return [{**parts[0], "global_negatives": global_negatives.of_one_pass(parts[0])}]
        with torch.no_grad():
            features = [module(*_inputs(part)) for part in parts]
        found = global_negatives.of_several(parts, features)
        return [{**part, "global_negatives": one} for part, one in zip(parts, found, strict=True)]

    def loss(self, module: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        """ITC over the global batch and ITM with hard negatives from it."""
        return module(*_inputs(batch), batch["global_negatives"])

    def num_targets(self, batch: dict[str, Any]) -> dict[str, float]:
        """Pairs, and each with its two negatives."""
        pairs = float(len(batch["ids"]))
        return {"itc": pairs, "itm": FUSION_PASSES * pairs}

    def evaluate(self) -> dict[str, float]:
        """Recalls of the dual encoder on the validation split; `score` is their mean."""
        scores = dual_scores(self.model, self.validation, self.params.evaluation_batch)
        metrics = recalls(scores, scores.T, self.validation.owner)
        return {**metrics, "score": mean_recall(metrics)}


def _inputs(batch: dict[str, Any]) -> tuple[ImageTextPairs, DropPathNoise]:
    noise = batch["drop_path_noise"]
    return (
        ImageTextPairs(images.normalize(batch["pixels"]), batch["ids"], batch["mask"]),
        DropPathNoise(noise[0], noise[1], noise[2:]),
    )


def evaluate(
    model: Retrieval, folders: Folders, tuned: FineTuneParams, params: EvaluateParams, out: Path
) -> dict[str, Any]:
    """Recalls on the test split, before and after reranking; a few queries and what was found go
    into `out`."""
    tokenizer = TextTokenizer.load(folders.text_tokenizer)
    size, length = model.config.backbone.image_size, tuned.inputs.text_length
    data = evaluation_set(folders.shards, params.split, tokenizer, size, length)
    scores = dual_scores(model, data, params.batch)
    reranked = rerank(model, data, scores, params.rerank_k, params.dual_weight, params.batch)
    visualize.draw(data, *reranked, out / "top5.png")
    return {
        "images": len(data.keys),
        "captions": len(data.captions),
        "dual": recalls(scores, scores.T, data.owner),
        "reranked": recalls(*reranked, data.owner),
        "chance": chance(len(data.keys), data.owner),
    }


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line: reranked R@1 both ways, and their mean as
    `score`."""
    recall = result["reranked"]
    return {
        "tr_r1": recall["tr_r1"],
        "ir_r1": recall["ir_r1"],
        "score": (recall["tr_r1"] + recall["ir_r1"]) / 2,
    }
