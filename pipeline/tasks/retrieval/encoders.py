"""The two ways to score pictures against captions: the dual encoder for all, the fusion encoder for the best k."""

from collections.abc import Iterator

import torch
from torch import Tensor

from model.retrieval import Retrieval
from pipeline import images
from pipeline.pairs import pad
from pipeline.tasks.retrieval.data import EvaluationSet

NO_CANDIDATE = -100.0  # score of what the dual encoder did not rank among the best k (VLMo)


@torch.inference_mode()
def dual_scores(model: Retrieval, data: EvaluationSet, batch: int) -> Tensor:
    """Cosines [images, captions], fp32."""
    device = next(model.parameters()).device
    pictures = [model.encode_image(images.normalise(chunk.to(device))) for chunk in data.pixels.split(batch)]
    texts = torch.empty(len(data.ids), pictures[0].shape[1], device=device)
    for rows in _by_length(data, torch.arange(len(data.ids)), batch):
        ids, mask = pad([data.ids[row] for row in rows])
        texts[rows] = model.encode_text(ids.to(device), mask.to(device))
    return (torch.cat(pictures) @ texts.T).cpu()


@torch.inference_mode()
def rerank(model: Retrieval, data: EvaluationSet, scores: Tensor, k: int, dual_weight: float, batch: int) -> Tensor:
    """Re-score each query's best `k` candidates as match logit plus weighted cosine (VLMo); all others get -100.

    scores: [queries, candidates] cosines, queries being the pictures (then candidates are captions) or the captions.
    """
    k = min(k, scores.shape[1])
    candidates = scores.topk(k, dim=1).indices
    query = torch.arange(len(scores))[:, None].expand(-1, k).flatten()
    candidate = candidates.flatten()
    by_image = scores.shape == (len(data.keys), len(data.ids))
    picture, caption = (query, candidate) if by_image else (candidate, query)
    matches = match_logits(model, data, picture, caption, batch)
    final = torch.full_like(scores, NO_CANDIDATE)
    final[query, candidate] = matches + dual_weight * scores[query, candidate]
    return final


def match_logits(model: Retrieval, data: EvaluationSet, picture: Tensor, caption: Tensor, batch: int) -> Tensor:
    """The fusion encoder's logit that each pair (picture[i], caption[i]) belongs together, [n]."""
    device = next(model.parameters()).device
    matches = torch.empty(len(picture))
    for rows in _by_length(data, caption, batch):
        ids, mask = pad([data.ids[text] for text in caption[rows]])
        pixels = images.normalise(data.pixels[picture[rows]].to(device))
        matches[rows] = model.match_logits(pixels, ids.to(device), mask.to(device))[:, 1].cpu()
    return matches


def _by_length(data: EvaluationSet, captions: Tensor, batch: int) -> Iterator[Tensor]:
    """Indices into `captions` in batches of texts of similar length, so that little is padded."""
    lengths = torch.tensor([len(data.ids[caption]) for caption in captions])
    return iter(lengths.argsort(stable=True).split(batch))
