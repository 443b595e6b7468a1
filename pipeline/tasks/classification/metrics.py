"""What a classifier answers on a split, and how good that is."""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.heads.classification import Classification
from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.tasks.classification.data import InputParams, checked_label, evaluation_batches

CUTS = (1, 5)


@dataclass(frozen=True)
class Predictions:
    """One entry per picture, in order."""

    keys: list[str]
    truth: Tensor  # int64
    predicted: Tensor  # int64, the best class
    confidence: Tensor  # its probability
    # int64, how many wrong classes score at least as high as the true one: ties count against us
    place: Tensor
    loss: Tensor  # cross-entropy, nats


@torch.inference_mode()
def predict(
    model: Classification, folder: Path, split: str, inputs: InputParams, batch: int
) -> Predictions:
    """Classify a split."""
    device = next(model.parameters()).device
    parts = []
    for chunk in evaluation_batches(folder, split, inputs, model.config.classes, batch):
        logits = model(images.normalize(chunk.pixels.to(device))).cpu()
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        loss = F.cross_entropy(logits, chunk.labels, reduction="none")
        parts.append(
            Predictions(
                chunk.keys, chunk.labels, predicted, confidence, places(logits, chunk.labels), loss
            )
        )
    columns = {
        field.name: [getattr(part, field.name) for part in parts] for field in fields(Predictions)
    }
    keys = [key for part in columns.pop("keys") for key in part]
    return Predictions(keys, **{name: torch.cat(values) for name, values in columns.items()})


def places(logits: Tensor, truth: Tensor) -> Tensor:
    """Wrong classes that score at least as high as the true one: logits [n, classes], truth int64
    [n] to int64 [n]."""
    return (logits >= logits.gather(1, truth[:, None])).sum(dim=1) - 1


def accuracy(place: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy, shares in 0..1."""
    return {f"acc{cut}": (place < cut).double().mean().item() for cut in CUTS}


def chance(classes: int) -> dict[str, float]:
    """Of guessing."""
    return {f"acc{cut}": min(cut / classes, 1.0) for cut in CUTS}


def majority(truth: Tensor, counts: np.ndarray) -> dict[str, float]:
    """Of always answering the classes that are most frequent in training; counts: [classes]."""
    frequent = torch.from_numpy(np.argsort(-counts, kind="stable"))
    return {f"acc{cut}": torch.isin(truth, frequent[:cut]).double().mean().item() for cut in CUTS}


def training_classes(folder: Path, classes: int) -> tuple[np.ndarray, dict[int, str]]:
    """How many training pictures each class has, [classes], and the classes' names: their pictures'
    synset ids."""
    counts, names = np.zeros(classes, dtype=np.int64), {}
    for row in parquet.read_rows(folder, "train", ("key", "label")):
        label = checked_label(row, classes, folder)
        counts[label] += 1
        names.setdefault(label, row["key"].rpartition("_")[0])
    return counts, names


def write_csv(predictions: Predictions, path: Path) -> None:
    """One line per picture: key, predicted class and true class."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("key", "predicted", "truth"))
        writer.writerows(
            zip(
                predictions.keys,
                predictions.predicted.tolist(),
                predictions.truth.tolist(),
                strict=True,
            )
        )
