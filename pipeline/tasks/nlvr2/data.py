"""Statements with their two pictures: augmented for training, in order for evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from pipeline.data.loading.row_reader import RowReader
from pipeline.data.loading.sampler import MicroBatch, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.tasks.image_text_inputs import PairParams, augmented, pad
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import seeds

SIDES = ("left", "right")


class StatementBatches:
    """Map-style data set: a part of a step to its rows of the global batch."""

    def __init__(
        self, folder: Path, tokenizer: TextTokenizer, params: PairParams, depth: int, seed: int
    ):
        self.tokenizer, self.params, self.depth, self.seed = tokenizer, params, depth, seed
        cache = 2 * params.order.streams * params.order.shuffle_block
        self.rows = RowReader(
            parquet.row_groups(folder, "train"), cache, (*SIDES, "statement", "label")
        )
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "statements")

    def __getitem__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        return _collate([self._sample(index) for index in self.order.samples(micro_batch)])

    def _sample(self, index: SampleIndex) -> dict[str, Any]:
        rng = seeds.generator(self.seed, "statement", index.position)
        row, _ = self.rows.get(index.group, index.offset)
        sides = [
            augmented(images.decode(row[side]), side, self.seed, index.position, self.params, rng)
            for side in SIDES
        ]
        return {
            "pixels": np.stack(sides),
            "ids": self.tokenizer.encode(row["statement"], self.params.text_length),
            "label": row["label"],
            "drop_path_noise": rng.random(
                (len(SIDES), self.depth, DROP_PATH_BRANCHES), dtype=np.float32
            ),
        }


@dataclass(frozen=True)
class Examples:
    """A few examples in order."""

    keys: tuple[str, ...]
    groups: tuple[str, ...]  # equal for examples of one statement
    statements: tuple[str, ...]
    labels: Tensor  # int64 [n], 1: true
    pixels: Tensor  # uint8 [n, 2, size, size, 3], plain resize, the left picture first
    ids: Tensor  # int64 [n, length]
    mask: Tensor  # bool [n, length]


def evaluation_batches(
    folder: Path, split: str, tokenizer: TextTokenizer, params: PairParams, batch: int
) -> Iterator[Examples]:
    """A split in order, `batch` examples in memory at a time."""
    rest = parquet.read_rows(folder, split)
    while rows := list(islice(rest, batch)):
        ids, mask = pad([tokenizer.encode(row["statement"], params.text_length) for row in rows])
        pixels = np.stack(
            [
                [images.square(images.decode(row[side]), params.image_size) for side in SIDES]
                for row in rows
            ]
        )
        yield Examples(
            *(tuple(row[name] for row in rows) for name in ("key", "group", "statement")),
            torch.tensor([row["label"] for row in rows]),
            torch.from_numpy(pixels),
            ids,
            mask,
        )


def share_true(folder: Path) -> float:
    """Share of true statements in the training split."""
    labels = [row["label"] for row in parquet.read_rows(folder, "train", ("label",))]
    return sum(labels) / len(labels)


def normalised(pixels: Tensor) -> Tensor:
    """uint8 [n, 2, size, size, 3] to float [n, 2, 3, size, size] in -1..1."""
    return images.normalize(pixels.flatten(0, 1)).unflatten(0, (-1, len(SIDES)))


def _collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    ids, mask = pad([sample["ids"] for sample in samples])
    stacked = {
        name: torch.from_numpy(np.stack([sample[name] for sample in samples]))
        for name in ("pixels", "drop_path_noise")
    }
    return {
        **stacked,
        "ids": ids,
        "mask": mask,
        "label": torch.tensor([sample["label"] for sample in samples]),
    }
