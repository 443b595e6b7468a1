"""Masked-token accuracy on validation data, and whether one half of a pair helps to predict the
other.

For pairs the same masked positions are predicted three times: with the matching other half, with
the other half of another pair, and with none. `*_chance` is one over the size of the vocabulary,
`*_frequent` the accuracy of always predicting the most frequent masked id.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.pretraining.batches import ImageBatch, PairBatch, StreamBatch, TextBatch
from model.pretraining.masked_modeling import MaskedModeling
from pipeline.config.limits import Count
from pipeline.data.loading.row_reader import ImageReader, TextReader
from pipeline.pretraining.data import (
    DataFolders,
    DataParams,
    first_samples,
    normalize_stream,
    open_validation,
)
from pipeline.pretraining.samples import VALIDATION, SampleBuilder
from pipeline.training.step import to_device


@dataclass(frozen=True)
class ValidationParams:
    """What is measured on the `val` split."""

    texts: list[str]  # sources
    images: list[str]
    pairs: list[str]
    samples: Count  # of each stream
    batch: Count


def measure(
    model: MaskedModeling,
    folders: DataFolders,
    data: DataParams,
    builder: SampleBuilder,
    params: ValidationParams,
) -> dict[str, float]:
    """Losses (nats) and accuracies (0..1) of every objective; the model is in evaluation mode."""
    device = next(model.parameters()).device
    scores: dict[str, _Score] = {}
    for stream in ("texts", "images", "pairs"):
        reader = open_validation(folders, stream, data, getattr(params, stream))
        for batch, mismatched in _batches(stream, reader, builder, params):
            _score(model, to_device(batch, device), to_device(mismatched, device), scores)
    metrics: dict[str, float] = {}
    for name, score in scores.items():
        metrics |= score.metrics(name)
    return metrics


def _batches(
    stream: str,
    reader: ImageReader | TextReader,
    builder: SampleBuilder,
    params: ValidationParams,
) -> Iterator[tuple[StreamBatch, StreamBatch]]:
    """Batches, and beside each of pairs the same samples rotated by one, so that no text is beside
    its own image."""
    indices = first_samples(reader, params.samples)
    for start in range(0, len(indices), params.batch):
        chunk = indices[start : start + params.batch]
        rotated = chunk[1:] + chunk[:1] if stream == "pairs" else chunk[:1]
        yield (
            normalize_stream(builder.batch(stream, reader, chunk, VALIDATION)),
            normalize_stream(builder.batch(stream, reader, rotated, VALIDATION)),
        )


def _score(
    model: MaskedModeling, batch: StreamBatch, mismatched: StreamBatch, scores: dict[str, "_Score"]
) -> None:
    """Add the predictions for a batch to the scores by name."""

    def add(name: str, logits: Tensor, predicted: TextBatch | ImageBatch) -> None:
        assert predicted.targets is not None, "stored views have tokens"
        scores.setdefault(name, _Score(logits.shape[1])).add(logits, predicted.targets)

    if isinstance(batch, TextBatch):
        add("mlm", model.mlm(batch), batch)
    elif isinstance(batch, ImageBatch):
        add("mim", model.mim(batch), batch)
    else:
        assert isinstance(mismatched, PairBatch)
        text, image = batch.text, batch.image
        text_logits, image_logits = model.mvlm(text, image)
        add("mvlm_text", text_logits, text)
        add("mvlm_image", image_logits, image)
        text_logits, image_logits = model.mvlm(text, mismatched.image)
        add("mvlm_text_other", text_logits, text)
        add("mvlm_image_other", image_logits, mismatched.image)
        add("mvlm_text_none", model.mlm(text), text)
        add("mvlm_image_none", model.mim(image), image)


class _Score:
    """Loss and accuracy of one kind of prediction, over all batches."""

    def __init__(self, classes: int):
        self.classes, self.loss, self.correct = classes, 0.0, 0
        self.targets: list[Tensor] = []

    def add(self, logits: Tensor, targets: Tensor) -> None:
        self.loss += F.cross_entropy(logits.float(), targets, reduction="sum").item()
        self.correct += int((logits.argmax(dim=1) == targets).sum())
        self.targets.append(targets.cpu())

    def metrics(self, name: str) -> dict[str, float]:
        targets = torch.cat(self.targets)
        metrics = {
            f"{name}_loss": self.loss / len(targets),
            f"{name}_accuracy": self.correct / len(targets),
        }
        if name in ("mlm", "mim", "mvlm_text", "mvlm_image"):
            metrics[f"{name}_chance"] = 1 / self.classes
            metrics[f"{name}_count"] = float(len(targets))
            metrics[f"{name}_frequent"] = targets.bincount().max().item() / len(targets)
        return metrics
