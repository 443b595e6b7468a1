"""The two ways to score pictures against captions: the dual encoder for all, the fusion encoder for
the best k."""

from collections.abc import Iterator

import torch
from torch import Tensor

from model.heads.retrieval import Retrieval
from pipeline.data.transforms import images
from pipeline.tasks.image_text_inputs import pad
from pipeline.tasks.retrieval.data import EvaluationSet

BEHIND = (
    -100.0
)  # added to the cosine of what the dual encoder did not rank among the best k (VLMo: all get -100)


@torch.inference_mode()
def dual_scores(model: Retrieval, data: EvaluationSet, batch: int) -> Tensor:
    """Cosines [images, captions], fp32. Every picture and every caption is encoded once."""
    device = next(model.parameters()).device
    pictures = [
        model.encode_image(images.normalize(chunk.to(device))) for chunk in data.pixels.split(batch)
    ]
    texts = torch.empty(len(data.ids), pictures[0].shape[1], device=device)
    for rows, ids in _by_length(data, torch.arange(len(data.ids)), batch):
        texts[rows] = model.encode_text(ids.to(device), None)
    return (torch.cat(pictures) @ texts.T).cpu()


@torch.inference_mode()
def rerank(
    model: Retrieval, data: EvaluationSet, scores: Tensor, k: int, dual_weight: float, batch: int
) -> tuple[Tensor, Tensor]:
    """Re-score each query's best `k` candidates as match logit plus weighted cosine (VLMo); the
    others follow behind them in the dual encoder's order, which matters to recalls beyond `k`.

    A pair that is a candidate both ways passes through the fusion encoder once.

    Args:
        scores: [images, captions] cosines.

    Returns:
        The captions' scores for each picture [images, captions], and the pictures' for each caption
        [captions, images].
    """
    by_image, by_text = _best(scores, k), _best(scores.T, k).T
    picture, caption = (by_image | by_text).nonzero(as_tuple=True)
    fused = torch.empty_like(scores)
    fused[picture, caption] = (
        match_logits(model, data, picture, caption, batch) + dual_weight * scores[picture, caption]
    )
    image_scores, text_scores = (
        torch.where(best, fused, scores + BEHIND) for best in (by_image, by_text)
    )
    return image_scores, text_scores.T.contiguous()


@torch.inference_mode()
def match_logits(
    model: Retrieval, data: EvaluationSet, picture: Tensor, caption: Tensor, batch: int
) -> Tensor:
    """The fusion encoder's logit that each pair (picture[i], caption[i]) belongs together, [n]."""
    device = next(model.parameters()).device
    pixels, matches = data.pixels.to(device), torch.empty(len(picture), device=device)
    for rows, ids in _by_length(data, caption, batch):
        chosen = images.normalize(pixels[picture[rows].to(device)])
        matches[rows.to(device)] = model.match_logits(chosen, ids.to(device), None)[:, 1]
    return matches.cpu()


def _best(scores: Tensor, k: int) -> Tensor:
    """Which candidates are among the best `k` of their query: bool [queries, candidates]."""
    best = torch.zeros_like(scores, dtype=torch.bool)
    return best.scatter_(1, scores.topk(min(k, scores.shape[1]), dim=1).indices, True)


def _by_length(
    data: EvaluationSet, captions: Tensor, batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices into `captions` in batches of texts of one length, and their ids [n, length]: nothing
    is padded."""
    ids, mask = pad(data.ids)
    lengths = mask.sum(dim=1)[captions]
    for length in lengths.unique().tolist():
        for rows in (lengths == length).nonzero()[:, 0].split(batch):
            yield rows, ids[captions[rows], :length]
