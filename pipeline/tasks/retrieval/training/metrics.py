"""Cosines of the dual encoder, and recall at 1, 5 and 10, both ways, with any number of captions
per image."""

from collections.abc import Iterator

import torch
from torch import Tensor

from model.heads.retrieval import Retrieval
from pipeline.data.transforms import images
from pipeline.tasks.image_text_inputs import pad
from pipeline.tasks.ranking import ranks
from pipeline.tasks.retrieval.training.data import EvaluationSet
from pipeline.utils import finite

TOP_K = (1, 5, 10)


@torch.inference_mode()
def dual_scores(model: Retrieval, data: EvaluationSet, batch: int) -> Tensor:
    """Cosines [images, captions], fp32. Every image and every caption is encoded once.

    Raises:
        NonFiniteError: the model's vectors are NaN or infinite.
    """
    device = next(model.parameters()).device
    image_features = []
    for pixels in data.pixels.split(batch):
        image_features.append(model.encode_image(images.normalize(pixels.to(device))))
    text_features = torch.empty(len(data.ids), image_features[0].shape[1], device=device)
    for indices, ids in batches_of_one_length(data, torch.arange(len(data.ids)), batch):
        text_features[indices] = model.encode_text(ids.to(device), None)
    cosines = (torch.cat(image_features) @ text_features.T).cpu()
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
    """Shares in 0..1; of equal scores the first candidate comes first.

    Args:
        image_scores: [images, captions], the captions' scores for each image (text retrieval, TR).
        text_scores: [captions, images], the images' scores for each caption (image retrieval, IR).
        image_indices: int64 [captions], the image of each caption.

    Raises:
        NonFiniteError: a score is NaN or infinite.
    """
    numbers = torch.arange(len(image_scores), device=image_indices.device)
    relevant = image_indices[None, :] == numbers[:, None]
    result: dict[str, float] = {}
    for way, scores, truth in (("tr", image_scores, relevant), ("ir", text_scores, relevant.T)):
        finite.checked(scores, "scores of candidates")
        best_ranks = ranks(scores, truth)
        for k in TOP_K:
            result[f"{way}_r{k}"] = (best_ranks < k).double().mean().item()
    return result


def mean_recall(recall: dict[str, float]) -> float:
    """Mean of the six recalls: what a model is selected by (VLMo, BEiT-3)."""
    return sum(recall.values()) / len(recall)
