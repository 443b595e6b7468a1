"""Images and their brightness."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from pipeline.data.loading.row_reader import RowReader
from pipeline.data.loading.sampler import MicroBatch, OrderParams, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.tasks.image_text_inputs import stack
from pipeline.utils import seeds

COLUMNS = ("key", "image")


@dataclass(frozen=True)
class EvaluationInputs:
    """What evaluation reads of the block `inputs`."""

    image_size: int  # pixels


@dataclass(frozen=True)
class InputParams(EvaluationInputs):
    """Block `inputs`."""

    order: OrderParams


class ImageBatch(NamedTuple):
    """Images with what is to be predicted."""

    pixels: Tensor  # uint8 [n, size, size, 3]
    brightness: Tensor  # float32 [n] in -1..1
    drop_path_noise: Tensor  # float32 [n, depth, 3] in [0, 1)


class Sample(NamedTuple):
    """One row of an `ImageBatch`."""

    pixels: np.ndarray
    brightness: np.ndarray
    drop_path_noise: np.ndarray


class ImageBatches:
    """Map-style data set: the address of a micro-batch to its samples."""

    def __init__(self, folder: Path, params: InputParams, depth: int, seed: int):
        self.params, self.depth, self.seed = params, depth, seed
        cache = 2 * params.order.streams * params.order.shuffle_block
        self.rows = RowReader(parquet.row_groups(folder, "train"), cache, COLUMNS)
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "brightness")

    def __getitem__(self, micro_batch: MicroBatch) -> ImageBatch:
        samples = [self._sample(index) for index in self.order.samples(micro_batch)]
        return ImageBatch(*(stack(arrays) for arrays in zip(*samples, strict=True)))

    def _sample(self, index: SampleIndex) -> Sample:
        row, _ = self.rows.get(index.group, index.offset)
        rng = seeds.generator(self.seed, "brightness", index.position)
        noise = rng.random((self.depth, DROP_PATH_BRANCHES), dtype=np.float32)
        pixels = images.square(images.decode(row["image"]), self.params.image_size)
        return Sample(pixels, brightness(pixels), noise)


def brightness(pixels: np.ndarray) -> np.ndarray:
    """The mean of all pixels, float32 [] in -1..1."""
    return np.float32(pixels.mean() / 127.5 - 1)


def evaluation_batches(
    folder: Path, split: str, image_size: int, batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels uint8 [n, size, size, 3] and brightness float32 [n] of a split, in order."""
    rows = parquet.read_rows(folder, split, COLUMNS)
    while chunk := list(islice(rows, batch)):
        pixels = [images.square(images.decode(row["image"]), image_size) for row in chunk]
        yield stack(pixels), torch.tensor([brightness(one) for one in pixels])
