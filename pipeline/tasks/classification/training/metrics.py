"""What a classifier predicts on a split, and its accuracy."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.heads.classification import Classification
from pipeline.data.transforms import images
from pipeline.tasks import ranking
from pipeline.tasks.batch_results import BatchMap, Outputs, directly
from pipeline.tasks.classification.training.data import (
    EvaluationBatch,
    EvaluationInputs,
    evaluation_batches,
)
from pipeline.utils import finite

TOP_K = (1, 5)


class Predictions(NamedTuple):
    """Of the images of a split, in order."""

    keys: list[str]
    labels: Tensor  # int64 [n]
    predicted: Tensor  # int64 [n], the most probable class
    confidence: Tensor  # float [n], its probability
    ranks: Tensor  # int64 [n], how many wrong classes come before the true one
    losses: Tensor  # float [n], cross-entropy, nats


@torch.inference_mode()
def predict(
    model: Classification,
    folder: Path,
    split: str,
    inputs: EvaluationInputs,
    batch: int,
    run: BatchMap = directly,
) -> Predictions:
    """Classify a split, `batch` images at a time."""
    keys: list[str] = []
    parts: list[Outputs] = []
    batches = evaluation_batches(folder, split, inputs, model.config.classes, batch)
    for images_of, outputs in run(partial(_classify, model), batches):
        keys += images_of.keys
        parts.append((images_of.labels, *outputs))
    return Predictions(keys, *(torch.cat(column) for column in zip(*parts, strict=True)))


def _classify(model: Classification, batch: EvaluationBatch) -> Outputs:
    """The columns of `Predictions` behind the labels."""
    device = next(model.parameters()).device
    logits = model(images.normalize(batch.pixels.to(device))).cpu()
    ranks = label_ranks(logits, batch.labels)
    predicted = logits.argmax(dim=1)
    confidence = logits.softmax(dim=1).amax(dim=1)
    losses = F.cross_entropy(logits, batch.labels, reduction="none")
    return predicted, confidence, ranks, losses


def label_ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes come before the true one, the first of equals first, as in the official
    counts: logits [n, classes], labels int64 [n] to int64 [n].

    Raises:
        NonFiniteError: a logit is NaN or infinite.
    """
    finite.checked(logits, "logits of the classes")
    return ranking.ranks(logits, F.one_hot(labels, logits.shape[1]).bool())


def accuracy(ranks: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy, shares in 0..1, from the ranks of the true classes."""
    return {f"acc{k}": (ranks < k).double().mean().item() for k in TOP_K}
