"""Evaluation of NLVR2: accuracy and consistency beside their baselines, the official file of
predictions and a figure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.heads.nlvr2 import NLVR2
from pipeline.config.limits import Count, Precision, Threads
from pipeline.data.shards import parquet
from pipeline.tasks import Folders
from pipeline.tasks.batch_results import BatchMaps, unkept
from pipeline.tasks.nlvr2 import visualize
from pipeline.tasks.nlvr2.training.data import (
    EvaluationInputs,
    Examples,
    evaluation_batches,
    share_true,
)
from pipeline.tasks.nlvr2.training.metrics import SPLITS, Predictions, predict, scores
from pipeline.tasks.standard_errors import clustered
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import files

_OF_SPLITS = ("examples", "chance", "shuffled_images", "standard_errors")


@dataclass(frozen=True)
class EvaluateParams:
    """Block `evaluate.<data>`."""

    batch: Count
    threads: Threads
    precision: Precision


def evaluate(
    model: NLVR2,
    folders: Folders,
    inputs: EvaluationInputs,
    params: EvaluateParams,
    out: Path,
    maps: BatchMaps = unkept,
) -> dict[str, Any]:
    """Accuracy and consistency on dev and test-P with the accuracies' standard errors and their
    baselines, `majority_class` only where there are training examples; `predictions.csv` and
    `pairs.png` in `out`."""
    tokenizer = TextTokenizer.load_for(folders.text_tokenizer, model.config.backbone.vocab_size)

    def batches(name: str) -> Iterator[Examples]:
        return evaluation_batches(folders.shards, SPLITS[name], tokenizer, inputs, params.batch)

    result: dict[str, Any] = {key: {} for key in _OF_SPLITS}
    every: dict[str, Predictions] = {}
    for name, split in SPLITS.items():
        examples = parquet.num_samples(folders.shards, split)
        every[name] = predictions = predict(model, batches(name), maps(name, examples))
        labels, groups = predictions.labels, predictions.groups
        result[name] = predictions.scores()
        result["examples"][name] = len(labels)
        result["chance"][name] = chance(groups)
        result["standard_errors"][name] = {"accuracy": accuracy_error(predictions)}
        run = maps(f"{name} shuffled", examples)
        shuffled = predict(model, batches(name), run, shuffled=True)
        result["shuffled_images"][name] = shuffled.scores()
    if parquet.has_split(folders.shards, "train"):
        result["majority_class"] = majority_class(every, share_true(folders.shards))
    write(every.values(), out / "predictions.csv")
    visualize.draw(next(batches("test_p")), every["test_p"].probabilities, out / "pairs.png")
    return result


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line; `score` is the accuracy on test-P."""
    test = result["test_p"]
    return {
        "dev": result["dev"]["accuracy"],
        "test_p": test["accuracy"],
        "test_p_consistency": test["consistency"],
        "score": test["accuracy"],
    }


def accuracy_error(predictions: Predictions) -> float:
    """The accuracy's standard error: statements are drawn, their pairs of images come with them."""
    pairs = zip(predictions.answers(), predictions.labels, strict=True)
    right = torch.tensor([answer == label for answer, label in pairs])
    numbers = {group: number for number, group in enumerate(dict.fromkeys(predictions.groups))}
    return clustered(right, torch.tensor([numbers[group] for group in predictions.groups]))


def chance(groups: Sequence[str]) -> dict[str, float]:
    """Expected scores of coin tosses."""
    sizes = Counter(groups).values()
    return {"accuracy": 0.5, "consistency": sum(0.5**size for size in sizes) / len(sizes)}


def majority_class(
    every: Mapping[str, Predictions], share_true: float
) -> dict[str, dict[str, float]]:
    """Scores on each split of always giving the answer that is most frequent in training."""
    result = {}
    for name, predictions in every.items():
        labels, groups = predictions.labels, predictions.groups
        result[name] = scores([share_true >= 0.5] * len(labels), labels, groups)
    return result


def write(parts: Iterable[Predictions], path: Path) -> None:
    """The official evaluator's lines `identifier,prediction`, without a heading."""
    lines = []
    for predictions in parts:
        for key, answer in zip(predictions.keys, predictions.answers(), strict=True):
            lines.append(f"{key},{answer}\n")
    with files.replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
