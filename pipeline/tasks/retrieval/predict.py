"""Evaluation of image-text retrieval: the dual encoder ranks all candidates, the fusion encoder
reranks the best k. A model without matching is a dual encoder alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.heads.retrieval import Retrieval
from pipeline.config.limits import Count, Precision, SplitName, Threads
from pipeline.data.transforms import images
from pipeline.tasks import Folders
from pipeline.tasks.batch_results import BatchMaps, unkept
from pipeline.tasks.retrieval import visualize
from pipeline.tasks.retrieval.training.data import EvaluationInputs, EvaluationSet, evaluation_set
from pipeline.tasks.retrieval.training.metrics import (
    TOP_K,
    batches_of_one_length,
    dual_scores,
    first_ranks,
    recalls_at,
)
from pipeline.tasks.standard_errors import clustered
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import finite

# Added to the cosines of candidates that the dual encoder does not rank among the best k (VLMo:
# all get -100).
NOT_RERANKED = -100.0


@dataclass(frozen=True)
class EvaluateParams:
    """Block `evaluate.<data>`."""

    split: SplitName
    rerank_k: Count  # candidates that the dual encoder hands to the fusion encoder
    dual_weight: float  # of the cosine beside the match logit
    batch: Count
    threads: Threads
    precision: Precision


def evaluate(
    model: Retrieval,
    folders: Folders,
    inputs: EvaluationInputs,
    params: EvaluateParams,
    out: Path,
    maps: BatchMaps = unkept,
) -> dict[str, Any]:
    """Recalls on the test split with their standard errors, before and, where the model matches, after
    reranking; `top5.png` in `out` has a few queries with the best candidates."""
    tokenizer = TextTokenizer.load_for(folders.text_tokenizer, model.config.backbone.vocab_size)
    size, length = model.config.backbone.image_size, inputs.text_length
    data = evaluation_set(folders.shards, params.split, tokenizer, size, length)
    scores = dual_scores(model, data, params.batch, maps)
    ranked = {"dual": (scores, scores.T)}
    if model.config.matching:
        weights = params.rerank_k, params.dual_weight
        ranked["reranked"] = rerank(model, data, scores, *weights, params.batch, maps)
    visualize.draw(data, *list(ranked.values())[-1], out / "top5.png")
    first = {name: first_ranks(*both, data.image_indices) for name, both in ranked.items()}
    errors = {name: recall_errors(ranks, data.image_indices) for name, ranks in first.items()}
    return {
        "images": len(data.keys),
        "captions": len(data.captions),
        **{name: recalls_at(ranks) for name, ranks in first.items()},
        "standard_errors": {**errors, "headline": list(errors.values())[-1]},
        "chance": chance(len(data.keys), data.image_indices),
    }


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line: R@1 both ways, reranked where the model
    does, and their mean as `score`."""
    recall = result.get("reranked", result["dual"])
    return {
        "tr_r1": recall["tr_r1"],
        "ir_r1": recall["ir_r1"],
        "score": (recall["tr_r1"] + recall["ir_r1"]) / 2,
    }


@torch.inference_mode()
def rerank(
    model: Retrieval,
    data: EvaluationSet,
    scores: Tensor,
    k: int,
    dual_weight: float,
    batch: int,
    maps: BatchMaps = unkept,
) -> tuple[Tensor, Tensor]:
    """Re-score each query's best `k` candidates as match logit plus weighted cosine (VLMo); the
    others follow after them in the dual encoder's order, which matters to recalls beyond `k`.

    A pair that is a candidate both ways passes through the fusion encoder once.

    Args:
        scores: [images, captions] cosines.

    Returns:
        The captions' scores for each image [images, captions], and the images' for each caption
        [captions, images].
    """
    by_image, by_text = _best(scores, k), _best(scores.T, k).T
    image, caption = (by_image | by_text).nonzero(as_tuple=True)
    fused = torch.empty_like(scores)
    logits = match_logits(model, data, image, caption, batch, maps)
    fused[image, caption] = logits + dual_weight * scores[image, caption]
    image_scores = torch.where(by_image, fused, scores + NOT_RERANKED)
    text_scores = torch.where(by_text, fused, scores + NOT_RERANKED)
    return image_scores, text_scores.T.contiguous()


@torch.inference_mode()
def match_logits(
    model: Retrieval,
    data: EvaluationSet,
    image: Tensor,
    caption: Tensor,
    batch: int,
    maps: BatchMaps = unkept,
) -> Tensor:
    """The fusion encoder's logit that each pair (image[i], caption[i]) belongs together, [n].

    Raises:
        NonFiniteError: a logit is NaN or infinite.
    """
    device = next(model.parameters()).device
    pixels, matches = data.all_pixels().to(device), torch.empty(len(image))

    def match(pairs: tuple[Tensor, Tensor]) -> tuple[Tensor]:
        indices, ids = pairs
        candidates = images.normalize(pixels[image[indices].to(device)])
        return (model.match_logits(candidates, ids.to(device), None)[:, 1].cpu(),)

    pairs = batches_of_one_length(data, caption, batch)
    for (indices, _), (logits,) in maps("pairs", len(image))(match, pairs):
        matches[indices] = logits
    return finite.checked(matches, "match logits")


def _best(scores: Tensor, k: int) -> Tensor:
    """Which candidates are among the best `k` of their query: bool [queries, candidates]."""
    best = torch.zeros_like(scores, dtype=torch.bool)
    return best.scatter_(1, scores.topk(min(k, scores.shape[1]), dim=1).indices, True)


def recall_errors(first: Mapping[str, Tensor], image_indices: Tensor) -> dict[str, float]:
    """The standard error of each recall of what `first_ranks` gives: images are drawn, their captions
    come with them. image_indices: int64 [captions], the image of each."""
    clusters = {"tr": torch.arange(len(first["tr"])), "ir": image_indices}
    result = {}
    for way, ranks in first.items():
        for k in TOP_K:
            result[f"{way}_r{k}"] = clustered(ranks < k, clusters[way])
    return result


def chance(num_images: int, image_indices: Tensor) -> dict[str, float]:
    """Expected recalls of a random order. image_indices: int64 [captions], the image of each."""
    captions = len(image_indices)
    captions_of_image = image_indices.bincount(minlength=num_images)
    result = {}
    for k in TOP_K:
        # that none of an image's captions is among the first k
        miss = torch.ones(num_images, dtype=torch.float64)
        for rank in range(min(k, captions)):
            remaining = captions - rank
            miss *= ((remaining - captions_of_image) / remaining).clamp(min=0)
        result[f"tr_r{k}"] = (1 - miss).mean().item()
        result[f"ir_r{k}"] = min(k / num_images, 1.0)
    return result
