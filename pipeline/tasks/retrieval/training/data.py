"""Images and captions of the retrieval tasks: augmented pairs for training, everything in order for
evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from pipeline.data.loading.row_reader import ImageReader
from pipeline.data.loading.sampler import MicroBatch, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.tasks.image_text_inputs import ImageTextInputs, ImageTextParams, augmented, pad, stack
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import seeds

COLUMNS = ("key", "image", "captions")
FUSION_PASSES = 3  # the true pair, a hard negative image, a hard negative text
ENCODER_PASSES = 2  # image encoder, text encoder

EvaluationInputs = ImageTextInputs
InputParams = ImageTextParams


class PairBatch(NamedTuple):
    """Augmented pairs of image and caption."""

    pixels: Tensor  # uint8 [n, size, size, 3]
    ids: Tensor  # int64 [n, length]
    mask: Tensor  # bool [n, length], True for tokens
    image_ids: Tensor  # int64 [n], equal for captions of one image
    negative_noise: Tensor  # float64 [n, 2] in [0, 1), to draw a negative image and a text with
    drop_path_noise: Tensor  # float32 [5, n, depth, 3]: both encoders', then the fusion passes'


class Sample(NamedTuple):
    """One row of a `PairBatch`."""

    pixels: np.ndarray  # uint8 [size, size, 3]
    ids: np.ndarray  # [length]
    image_id: int
    negative_noise: np.ndarray  # float64 [2]
    drop_path_noise: np.ndarray  # float32 [5, depth, 3]


class PairBatches:
    """Map-style data set: the address of a micro-batch to its samples."""

    def __init__(
        self, folder: Path, tokenizer: TextTokenizer, params: InputParams, depth: int, seed: int
    ):
        self.tokenizer, self.params, self.depth, self.seed = tokenizer, params, depth, seed
        cache = 2 * params.order.streams * params.order.shuffle_block
        self.rows = ImageReader(
            [(group, None) for group in parquet.row_groups(folder, "train")], cache, pairs=True
        )
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "pairs")

    def __getitem__(self, micro_batch: MicroBatch) -> PairBatch:
        return collate([self._sample(index) for index in self.order.samples(micro_batch)])

    def _sample(self, index: SampleIndex) -> Sample:
        rng = seeds.generator(self.seed, "pair", index.position)
        row, caption = self.rows.get(index.group, index.offset)
        image = images.decode(row.image)
        passes = ENCODER_PASSES + FUSION_PASSES
        return Sample(
            augmented(image, "pair", self.seed, index.position, self.params, rng),
            self.tokenizer.encode(caption, self.params.text_length),
            seeds.key("picture", row.key) >> 65,  # 63 bits
            rng.random(2),
            rng.random((passes, self.depth, DROP_PATH_BRANCHES), dtype=np.float32),
        )


def collate(samples: list[Sample]) -> PairBatch:
    """Stack samples; texts are padded to the longest."""
    pixels, texts, image_ids, negative_noise, drop_path_noise = zip(*samples, strict=True)
    return PairBatch(
        stack(pixels),
        *pad(texts),
        torch.tensor(image_ids),
        stack(negative_noise),
        torch.from_numpy(np.stack(drop_path_noise, axis=1)),
    )


@dataclass(frozen=True)
class PixelReader:
    """Pixels of a split's images, as if they were in a tensor, but read when they are asked for."""

    folder: Path
    split_name: str
    size: int  # pixels

    def split(self, count: int) -> Iterator[Tensor]:
        """All of them, `count` at a time: uint8 [count, size, size, 3]."""
        rows = parquet.read_rows(self.folder, self.split_name, ("image",))
        while some := list(islice(rows, count)):
            yield stack([self._square(row["image"]) for row in some])

    def __getitem__(self, index: int) -> Tensor:
        """Of one image, uint8 [size, size, 3]."""
        for group in parquet.row_groups(self.folder, self.split_name):
            if index < group.rows:
                image = parquet.read_group(group, ("image",))["image"][index]
                return stack([self._square(image.as_py())])[0]
            index -= group.rows
        raise IndexError

    def _square(self, data: bytes) -> np.ndarray:
        return images.square(images.decode(data), self.size)


@dataclass(frozen=True)
class EvaluationSet:
    """All images and captions of a split, in order."""

    keys: list[str]  # of the images
    captions: list[str]
    pixels: Tensor | PixelReader  # uint8 [images, size, size, 3], plain resize
    ids: list[np.ndarray]  # of each caption
    image_indices: Tensor  # int64 [captions], the image of each

    def all_pixels(self) -> Tensor:
        """Those of all images, in memory."""
        if isinstance(self.pixels, Tensor):
            return self.pixels
        return torch.cat(list(self.pixels.split(1)))


def evaluation_set(
    folder: Path, split: str, tokenizer: TextTokenizer, image_size: int, text_length: int
) -> EvaluationSet:
    """Read a split, but for its images."""
    keys: list[str] = []
    captions: list[str] = []
    image_indices: list[int] = []
    for row in parquet.read_rows(folder, split, ("key", "captions")):
        image_indices += [len(keys)] * len(row["captions"])
        keys.append(row["key"])
        captions += row["captions"]
    ids = [tokenizer.encode(caption, text_length) for caption in captions]
    pixels = PixelReader(folder, split, image_size)
    return EvaluationSet(keys, captions, pixels, ids, torch.tensor(image_indices))
