"""Statements with their two images: augmented for training, in order for evaluation."""

from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from pipeline.data.loading.row_reader import RowReader
from pipeline.data.loading.sampler import MicroBatch, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.tasks.image_text_inputs import ImageTextInputs, ImageTextParams, augmented, pad, stack
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import seeds

SIDES = ("left", "right")
COLUMNS = (*SIDES, "statement", "label")

EvaluationInputs = ImageTextInputs
InputParams = ImageTextParams


class StatementBatch(NamedTuple):
    """Statements with their two images, augmented."""

    pixels: Tensor  # uint8 [n, 2, size, size, 3], the left image first
    ids: Tensor  # int64 [n, length]
    mask: Tensor  # bool [n, length], True for tokens
    labels: Tensor  # int64 [n], 1: true
    drop_path_noise: Tensor  # float32 [n, 2, depth, 3] in [0, 1)


class Sample(NamedTuple):
    """One row of a `StatementBatch`."""

    pixels: np.ndarray  # uint8 [2, size, size, 3]
    ids: np.ndarray  # [length]
    label: int
    drop_path_noise: np.ndarray  # float32 [2, depth, 3]


class StatementBatches:
    """Map-style data set: the address of a micro-batch to its samples."""

    def __init__(
        self, folder: Path, tokenizer: TextTokenizer, params: InputParams, depth: int, seed: int
    ):
        self.tokenizer, self.params, self.depth, self.seed = tokenizer, params, depth, seed
        cache = 2 * params.order.streams * params.order.shuffle_block
        self.rows = RowReader(parquet.row_groups(folder, "train"), cache, COLUMNS)
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "statements")

    def __getitem__(self, micro_batch: MicroBatch) -> StatementBatch:
        return collate([self._sample(index) for index in self.order.samples(micro_batch)])

    def _sample(self, index: SampleIndex) -> Sample:
        rng = seeds.generator(self.seed, "statement", index.position)
        row, _ = self.rows.get(index.group, index.offset)
        sides = []
        for side in SIDES:
            image = images.decode(row[side])
            sides.append(augmented(image, side, self.seed, index.position, self.params, rng))
        return Sample(
            np.stack(sides),
            self.tokenizer.encode(row["statement"], self.params.text_length),
            row["label"],
            rng.random((len(SIDES), self.depth, DROP_PATH_BRANCHES), dtype=np.float32),
        )


def collate(samples: list[Sample]) -> StatementBatch:
    """Stack samples; statements are padded to the longest."""
    pixels, texts, labels, noise = zip(*samples, strict=True)
    return StatementBatch(stack(pixels), *pad(texts), torch.tensor(labels), stack(noise))


class Examples(NamedTuple):
    """A few examples of a split, in order."""

    keys: list[str]
    groups: list[str]  # equal for examples of one statement
    statements: list[str]
    labels: Tensor  # int64 [n], 1: true
    pixels: Tensor  # uint8 [n, 2, size, size, 3], plain resize, the left image first
    ids: Tensor  # int64 [n, length]
    mask: Tensor  # bool [n, length]


def evaluation_batches(
    folder: Path, split: str, tokenizer: TextTokenizer, params: EvaluationInputs, batch: int
) -> Iterator[Examples]:
    """A split in order, `batch` examples in memory at a time."""
    remaining = parquet.read_rows(folder, split)
    while rows := list(islice(remaining, batch)):
        columns = map(itemgetter("key", "group", "statement", "label"), rows)
        keys, groups, statements, labels = map(list, zip(*columns, strict=True))
        texts = [tokenizer.encode(text, params.text_length) for text in statements]
        pixels = [_both_images(row, params.image_size) for row in rows]
        yield Examples(keys, groups, statements, torch.tensor(labels), stack(pixels), *pad(texts))


def _both_images(row: dict[str, Any], size: int) -> np.ndarray:
    """uint8 [2, size, size, 3], as they are evaluated, the left one first."""
    left, right = (images.square(images.decode(row[side]), size) for side in SIDES)
    return np.stack([left, right])


def share_true(folder: Path) -> float:
    """Share of true statements in the training split."""
    labels = [row["label"] for row in parquet.read_rows(folder, "train", ("label",))]
    return sum(labels) / len(labels)


def normalized(pixels: Tensor) -> Tensor:
    """uint8 [n, 2, size, size, 3] to float [n, 2, 3, size, size] in -1..1."""
    return images.normalize(pixels.flatten(0, 1)).unflatten(0, (-1, len(SIDES)))
