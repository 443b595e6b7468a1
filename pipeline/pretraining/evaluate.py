"""Masked-token accuracy on validation data, and whether one half of a pair helps to predict the
other (`pair_halves`).

`*_chance` is one over the size of the vocabulary, `*_frequent` the accuracy of always predicting the
most frequent masked id.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from model.pretraining.batches import ImageBatch, PairBatch, StreamBatch, TextBatch
from model.pretraining.masked_modeling import MaskedModeling
from pipeline.config.limits import Count
from pipeline.data.loading.row_reader import ImageReader, TextReader
from pipeline.pretraining import pair_halves
from pipeline.pretraining.data import (
    DataFolders,
    DataParams,
    first_samples,
    normalize_stream,
    open_validation,
)
from pipeline.pretraining.samples import VALIDATION, SampleBuilder
from pipeline.pretraining.score import Score
from pipeline.training.step import to_device

STREAMS = ("mlm", "mim", "mvlm_text", "mvlm_image")


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
    scores: dict[str, Score] = {}
    for stream in ("texts", "images", "pairs"):
        reader = open_validation(folders, stream, data, getattr(params, stream))
        for batch, mismatched in _batches(stream, reader, builder, params):
            _score(model, to_device(batch, device), to_device(mismatched, device), scores)
    metrics: dict[str, float] = {}
    for name, score in scores.items():
        metrics |= score.metrics(name)
        if name in STREAMS:
            metrics |= score.references(name)
    return metrics | pair_halves.gains(scores)


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
    model: MaskedModeling, batch: StreamBatch, mismatched: StreamBatch, scores: dict[str, Score]
) -> None:
    """Add the predictions for a batch to the scores by name."""

    def add(name: str, logits: Tensor, predicted: TextBatch | ImageBatch) -> None:
        scores.setdefault(name, Score()).add(logits, predicted)

    if isinstance(batch, TextBatch):
        add("mlm", model.mlm(batch), batch)
    elif isinstance(batch, ImageBatch):
        add("mim", model.mim(batch), batch)
    else:
        assert isinstance(mismatched, PairBatch)
        for name, logits, predicted in pair_halves.predictions(model, batch, mismatched):
            add(name, logits, predicted)
