"""Evaluation of an image classifier: accuracy beside its baselines, predictions and a figure."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.heads.classification import Classification
from pipeline.config.limits import Count, Precision, SplitName, Threads
from pipeline.data.shards import parquet
from pipeline.tasks import Folders
from pipeline.tasks.batch_results import BatchMaps, unkept
from pipeline.tasks.classification import visualize
from pipeline.tasks.classification.training.data import EvaluationInputs, checked_label
from pipeline.tasks.classification.training.metrics import TOP_K, Predictions, accuracy, predict


@dataclass(frozen=True)
class EvaluateParams:
    """Block `evaluate.<data>`."""

    split: SplitName
    batch: Count
    threads: Threads
    precision: Precision


def evaluate(
    model: Classification,
    folders: Folders,
    inputs: EvaluationInputs,
    params: EvaluateParams,
    out: Path,
    maps: BatchMaps = unkept,
) -> dict[str, Any]:
    """Accuracy on a split, with the baseline `majority` only where there are training images;
    `predictions.csv` and `examples.png` in `out`."""
    classes, shards = model.config.classes, folders.shards
    run = maps("images", parquet.num_samples(shards, params.split))
    predictions = predict(model, shards, params.split, inputs, params.batch, run)
    write_csv(predictions, out / "predictions.csv")
    result = {"images": len(predictions.keys), "classes": classes, **accuracy(predictions.ranks)}
    result["chance"] = chance(classes)
    names = dict(enumerate(folders.class_names))
    if parquet.has_split(shards, "train"):
        counts, names = training_classes(shards, classes)
        result["majority"] = majority(predictions.labels, counts)
    visualize.draw(shards, params.split, predictions, names, out / "examples.png")
    return result


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line; `score` is top-1 accuracy."""
    return {"acc1": result["acc1"], "acc5": result["acc5"], "score": result["acc1"]}


def class_names(folders: Folders, fine_tune: Any, params: EvaluateParams) -> list[str]:
    """Synset ids, in the order of the classifier's outputs; numbers for classes without a training
    image. fine_tune: the task's FineTuneParams."""
    _, names = training_classes(folders.shards, fine_tune.classes)
    return [names.get(label, str(label)) for label in range(fine_tune.classes)]


def training_classes(folder: Path, classes: int) -> tuple[np.ndarray, dict[int, str]]:
    """How many training images each class has, int64 [classes], and the classes' names: their
    images' synset ids or folders."""
    counts = np.zeros(classes, dtype=np.int64)
    names: dict[int, str] = {}
    for row in parquet.read_rows(folder, "train", ("key", "label")):
        label = checked_label(row, classes, folder)
        counts[label] += 1
        names.setdefault(label, _class_of(row["key"]))
    return counts, names


def _class_of(key: str) -> str:
    """The synset id of a key such as `n01440764_10026`, the folder of one such as `cat/1.jpg`."""
    folder, slash, _ = key.partition("/")
    return folder if slash else key.rpartition("_")[0]


def chance(classes: int) -> dict[str, float]:
    """Accuracy of a random order of the classes."""
    return {f"acc{k}": min(k / classes, 1.0) for k in TOP_K}


def majority(labels: Tensor, counts: np.ndarray) -> dict[str, float]:
    """Accuracy of always predicting the classes that are most frequent in training.

    labels: int64 [n] of the test images; counts: [classes] of the training images.
    """
    frequent = torch.from_numpy(np.argsort(-counts, kind="stable"))
    return {f"acc{k}": torch.isin(labels, frequent[:k]).double().mean().item() for k in TOP_K}


def write_csv(predictions: Predictions, path: Path) -> None:
    """One line per image: key, predicted class and true class."""
    predicted, labels = predictions.predicted.tolist(), predictions.labels.tolist()
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("key", "predicted", "truth"))
        writer.writerows(zip(predictions.keys, predicted, labels, strict=True))
