"""Pictures and masks: augmented crops for training, everything in order for evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from model.heads.segmentation import IGNORED, SegmentationConfig
from model.normalize import STATISTICS
from pipeline.data.loading.row_reader import RowReader
from pipeline.data.loading.sampler import MicroBatch, OrderParams, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.tasks.segmentation.augment import AugmentParams, augmented
from pipeline.utils import seeds

COLUMNS = ("key", "image", "mask")


@dataclass(frozen=True)
class InputParams:
    """Block `inputs` of a segmentation fine-tune."""

    image_size: int  # pixels; side of the training crops and of the windows at test time
    long_side: int  # pixels; pictures are resized, in proportion, to fit within these two
    short_side: int
    stride: int  # pixels from one window to the next at test time
    normalize: Literal["half", "imagenet"]  # mean and deviation of pixels
    augment: AugmentParams
    order: OrderParams

    @property
    def base(self) -> tuple[int, int]:
        """Long and short side."""
        return self.long_side, self.short_side


class CropBatches:
    """Map-style data set: a part of a step to its rows of the global batch."""

    def __init__(self, folder: Path, params: InputParams, config: SegmentationConfig, seed: int):
        self.params, self.config, self.seed = params, config, seed
        self.filling = tuple(round(255 * mean) for mean in STATISTICS[config.statistics][0])
        groups = parquet.row_groups(folder, "train")
        self.rows = RowReader(
            groups, 2 * params.order.streams * params.order.shuffle_block, COLUMNS
        )
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "crops")

    def __getitem__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """pixels uint8 [n, size, size, 3], labels int64 [n, size, size],
        drop_path_noise [n, depth, 3], dropout [n, channels] (see `Segmentation.forward`)."""
        samples = [self._sample(index) for index in self.order.samples(micro_batch)]
        return {
            name: torch.from_numpy(np.stack([sample[name] for sample in samples]))
            for name in samples[0]
        }

    def _sample(self, index: SampleIndex) -> dict[str, np.ndarray]:
        rng = seeds.generator(self.seed, "crop", index.position)
        row, _ = self.rows.get(index.group, index.offset)
        head, params = self.config.head, self.params
        labels = reduced(decoded_mask(row["mask"], head.classes, row["key"]))
        pixels, labels = augmented(
            images.decode(row["image"]),
            labels,
            params.image_size,
            params.base,
            params.augment,
            self.filling,
            rng,
        )
        return {
            "pixels": pixels,
            "labels": labels.astype(np.int64),
            "drop_path_noise": rng.random(
                (self.config.backbone.depth, DROP_PATH_BRANCHES), dtype=np.float32
            ),
            "dropout": rng.random(head.channels + head.auxiliary_channels, dtype=np.float32),
        }


@dataclass(frozen=True)
class Labelled:
    """A picture and the class of each of its pixels, uint8 [height, width]: 0 none, else from 1."""

    key: str
    image: Image.Image
    truth: np.ndarray


def labelled(
    folder: Path, split: str, classes: int, limit: int | None = None
) -> Iterator[Labelled]:
    """The pictures of a split in order, the first `limit` of them."""
    for row in islice(parquet.read_rows(folder, split, COLUMNS), limit):
        yield Labelled(
            row["key"], images.decode(row["image"]), decoded_mask(row["mask"], classes, row["key"])
        )


def decoded_mask(data: bytes, classes: int, key: str) -> np.ndarray:
    """Classes uint8 [height, width], 0 for none. Raises UserError where there are more classes than
    the head has."""
    with Image.open(BytesIO(data)) as image:
        mask = np.asarray(image)
    if mask.max() > classes:
        raise UserError(
            f"mask {key}: class {mask.max()}, but the head has {classes}; set the head's classes"
        )
    return mask


def reduced(mask: np.ndarray) -> np.ndarray:
    """Labels for training: classes from 0, and 255 where there is none ("reduce zero label")."""
    return np.where(mask == 0, np.uint8(IGNORED), mask - np.uint8(1))
