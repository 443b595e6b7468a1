"""Recall at 1, 5 and 10, both ways, with any number of captions per picture."""

import torch
from torch import Tensor

CUTS = (1, 5, 10)


def ranks(scores: Tensor, relevant: Tensor) -> Tensor:
    """How many irrelevant candidates score at least as high as the best relevant one: ties count
    against us.

    scores: [queries, candidates]; relevant: bool of the same shape, at least one True per row.
    int64 [queries].
    """
    best = scores.masked_fill(~relevant, float("-inf")).amax(dim=1, keepdim=True)
    return ((scores >= best) & ~relevant).sum(dim=1)


def recalls(image_scores: Tensor, text_scores: Tensor, owner: Tensor) -> dict[str, float]:
    """Shares in 0..1.

    Args:
        image_scores: [images, captions], the captions' scores for each picture (text retrieval,
        TR). text_scores: [captions, images], the pictures' scores for each caption (image
        retrieval, IR). owner: int64 [captions], the picture of each caption.
    """
    relevant = owner[None, :] == torch.arange(len(image_scores), device=owner.device)[:, None]
    result = {}
    for way, scores, truth in (("tr", image_scores, relevant), ("ir", text_scores, relevant.T)):
        place = ranks(scores, truth)
        result |= {f"{way}_r{cut}": (place < cut).double().mean().item() for cut in CUTS}
    return result


def chance(images: int, owner: Tensor) -> dict[str, float]:
    """Expected recalls of a random order."""
    captions = len(owner)
    own = owner.bincount(minlength=images)
    result = {}
    for cut in CUTS:
        miss = torch.ones(
            images, dtype=torch.float64
        )  # that none of a picture's captions is among the first `cut`
        for place in range(min(cut, captions)):
            miss *= ((captions - own - place) / (captions - place)).clamp(min=0)
        result[f"tr_r{cut}"] = (1 - miss).mean().item()
        result[f"ir_r{cut}"] = min(cut / images, 1.0)
    return result


def mean_recall(recall: dict[str, float]) -> float:
    """Mean of the six recalls: what a model is selected by (VLMo, BEiT-3)."""
    return sum(recall.values()) / len(recall)
