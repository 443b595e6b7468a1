"""Masked-token accuracy on held-out data, and whether one half of a pair helps to read the other.

For pairs the same hidden places are predicted three times: with the right other half, with the
other half of another pair, and with none. `*_chance` is one over the vocabulary, `*_frequent` what
always naming the most frequent hidden id would score.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.pretraining.batches import ImageBatch, PairBatch, StreamBatch, TextBatch
from model.pretraining.masked_modeling import MaskedModeling
from pipeline.pretraining.data import (
    DataFolders,
    DataParams,
    Sampler,
    StreamParams,
    held_out,
    open_rows,
    prepared,
)
from pipeline.training.step import to_device


@dataclass(frozen=True)
class ValidationParams:
    """What is measured on the `val` split."""

    texts: list[str]  # sources
    images: list[str]
    pairs: list[str]
    samples: int  # of each stream
    batch: int


def measure(
    model: MaskedModeling,
    folders: DataFolders,
    streams: DataParams,
    sampler: Sampler,
    params: ValidationParams,
) -> dict[str, float]:
    """Losses (nats) and accuracies (0..1) of every objective; the model is in evaluation mode."""
    device = next(model.parameters()).device
    scores: dict[str, _Score] = {}
    for name in ("texts", "images", "pairs"):
        stream = StreamParams(
            sources=dict.fromkeys(getattr(params, name), 1), order=getattr(streams, name).order
        )
        for batch, other in _batches(folders, name, stream, sampler, params):
            _score(model, to_device(batch, device), to_device(other, device), scores)
    return {
        key: value for name, score in scores.items() for key, value in score.metrics(name).items()
    }


def _batches(
    folders: DataFolders,
    name: str,
    stream: StreamParams,
    sampler: Sampler,
    params: ValidationParams,
) -> Iterator[tuple[StreamBatch, StreamBatch]]:
    """Batches, and beside each the same samples moved on by one, so that the halves of pairs do not
    fit."""
    rows = open_rows(folders, name, stream, "val")
    units = held_out(rows, params.samples)
    for start in range(0, len(units), params.batch):
        chunk = units[start : start + params.batch]
        moved = chunk[1:] + chunk[:1] if name == "pairs" else chunk[:1]
        yield (
            prepared(sampler.batch(name, rows, chunk, "held-out")),
            prepared(sampler.batch(name, rows, moved, "held-out")),
        )


def _score(
    model: MaskedModeling, batch: StreamBatch, other: StreamBatch, scores: dict[str, "_Score"]
) -> None:
    def add(key: str, logits: Tensor, predicted: TextBatch | ImageBatch) -> None:
        assert predicted.targets is not None, "stored views have tokens"
        scores.setdefault(key, _Score(logits.shape[1])).add(logits, predicted.targets)

    if isinstance(batch, TextBatch):
        add("mlm", model.mlm(batch), batch)
    elif isinstance(batch, ImageBatch):
        add("mim", model.mim(batch), batch)
    else:
        assert isinstance(other, PairBatch)
        text, image = batch.text, batch.image
        text_logits, image_logits = model.mvlm(text, image)
        add("mvlm_text", text_logits, text)
        add("mvlm_image", image_logits, image)
        text_logits, image_logits = model.mvlm(text, other.image)
        add("mvlm_text_other", text_logits, text)
        add("mvlm_image_other", image_logits, other.image)
        add("mvlm_text_none", model.mlm(text), text)
        add("mvlm_image_none", model.mim(image), image)


class _Score:
    """Loss and hits of one kind of prediction."""

    def __init__(self, classes: int):
        self.classes, self.loss, self.hits = classes, 0.0, 0
        self.targets: list[Tensor] = []

    def add(self, logits: Tensor, targets: Tensor) -> None:
        self.loss += F.cross_entropy(logits.float(), targets, reduction="sum").item()
        self.hits += int((logits.argmax(dim=1) == targets).sum())
        self.targets.append(targets.cpu())

    def metrics(self, name: str) -> dict[str, float]:
        targets = torch.cat(self.targets)
        metrics = {
            f"{name}_loss": self.loss / len(targets),
            f"{name}_accuracy": self.hits / len(targets),
        }
        if name in ("mlm", "mim", "mvlm_text", "mvlm_image"):
            metrics |= {
                f"{name}_chance": 1 / self.classes,
                f"{name}_count": float(len(targets)),
                f"{name}_frequent": targets.bincount().max().item() / len(targets),
            }
        return metrics
