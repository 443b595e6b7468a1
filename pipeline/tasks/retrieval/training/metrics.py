"""Cosines of the dual encoder, and recall at 1, 5 and 10, both ways, with any number of captions
per image."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from model.heads.retrieval import Retrieval
from pipeline.data.transforms import images
from pipeline.tasks.batch_results import BatchMaps, unkept
from pipeline.tasks.image_text_inputs import pad
from pipeline.tasks.ranking import ranks
from pipeline.tasks.retrieval.training.data import EvaluationSet
from pipeline.utils import finite

TOP_K = (1, 5, 10)
QUERIES = 1024  # that are ranked at a time: some bytes for each of their candidates


@torch.inference_mode()
def dual_scores(
    model: Retrieval, data: EvaluationSet, batch: int, maps: BatchMaps = unkept
) -> Tensor:
    """Cosines [images, captions], fp32. Every image and every caption is encoded once.

    Raises:
        NonFiniteError: the model's vectors are NaN or infinite.
    """
    device = next(model.parameters()).device

    def encode_image(pixels: Tensor) -> tuple[Tensor]:
        return (model.encode_image(images.normalize(pixels.to(device))).cpu(),)

    def encode_text(captions: tuple[Tensor, Tensor]) -> tuple[Tensor]:
        return (model.encode_text(captions[1].to(device), None).cpu(),)

    run = maps("images", len(data.keys))
    image_features = [features for _, (features,) in run(encode_image, data.pixels.split(batch))]
    text_features = torch.empty(len(data.ids), image_features[0].shape[1])
    captions = batches_of_one_length(data, torch.arange(len(data.ids)), batch)
    for (indices, _), (features,) in maps("captions", len(data.ids))(encode_text, captions):
        text_features[indices] = features
    with torch.autocast("cpu", enabled=False):  # in bf16 many would be equal
        cosines = torch.cat(image_features) @ text_features.T
    return finite.checked(cosines, "cosines of images and captions")


def batches_of_one_length(
    data: EvaluationSet, captions: Tensor, batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices into `captions` (int64 indices of the set's captions) in batches of texts of one
    length, and their ids [n, length]: nothing is padded."""
    ids, mask = pad(data.ids)
    lengths = mask.sum(dim=1)[captions]
    for length in lengths.unique().tolist():
        for indices in (lengths == length).nonzero()[:, 0].split(batch):
            yield indices, ids[captions[indices], :length]


def recalls(image_scores: Tensor, text_scores: Tensor, image_indices: Tensor) -> dict[str, float]:
    """Shares in 0..1; arguments and errors as of `first_ranks`."""
    return recalls_at(first_ranks(image_scores, text_scores, image_indices))


def recalls_at(first: Mapping[str, Tensor]) -> dict[str, float]:
    """The recalls, shares in 0..1, of what `first_ranks` gives."""
    result: dict[str, float] = {}
    for way, ranks_of_first in first.items():
        for k in TOP_K:
            result[f"{way}_r{k}"] = (ranks_of_first < k).double().mean().item()
    return result


def first_ranks(
    image_scores: Tensor, text_scores: Tensor, image_indices: Tensor
) -> dict[str, Tensor]:
    """How many false candidates come before each query's first true one, int64 [queries], in text
    retrieval (`tr`) and image retrieval (`ir`); of equal scores the first candidate comes first.

    Args:
        image_scores: [images, captions], the captions' scores for each image (text retrieval, TR).
        text_scores: [captions, images], the images' scores for each caption (image retrieval, IR).
        image_indices: int64 [captions], the image of each caption.

    Raises:
        NonFiniteError: a score is NaN or infinite.
    """
    numbers = torch.arange(len(image_scores), device=image_indices.device)
    relevant = image_indices[None, :] == numbers[:, None]
    result = {}
    for way, scores, truth in (("tr", image_scores, relevant), ("ir", text_scores, relevant.T)):
        finite.checked(scores, "scores of candidates")
        parts = zip(scores.split(QUERIES), truth.split(QUERIES), strict=True)
        result[way] = torch.cat([ranks(*part) for part in parts])
    return result


def mean_recall(recall: dict[str, float]) -> float:
    """Mean of the six recalls: what a model is selected by (VLMo, BEiT-3)."""
    return sum(recall.values()) / len(recall)
