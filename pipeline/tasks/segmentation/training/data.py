"""Images and masks: augmented crops for training, everything in order for evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from model.heads.segmentation import IGNORED, SegmentationConfig
from model.normalize import STATISTICS
from pipeline.config.limits import Pixels
from pipeline.data.loading.row_reader import RowReader
from pipeline.data.loading.sampler import MicroBatch, OrderParams, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.tasks.image_text_inputs import stack
from pipeline.tasks.segmentation.training.augment import AugmentParams, augmented
from pipeline.tasks.segmentation.training.resize import ResizeFilter
from pipeline.utils import seeds

CHECKED_MASKS = 64  # before training, of each split
COLUMNS = ("key", "image", "mask")


@dataclass(frozen=True)
class EvaluationInputs:
    """What evaluation reads of the block `inputs` of a segmentation fine-tune."""

    image_size: Pixels  # pixels; side of the training crops and of the windows at test time
    long_side: Pixels  # pixels; images are resized, in proportion, to fit within these two
    short_side: Pixels
    stride: Pixels  # pixels from one window to the next at test time
    normalize: Literal["half", "imagenet"]  # mean and deviation of pixels
    resize_filter: ResizeFilter  # of images; BEiT: OpenCV's

    @property
    def base(self) -> tuple[int, int]:
        """Long and short side."""
        return self.long_side, self.short_side


@dataclass(frozen=True)
class InputParams(EvaluationInputs):
    """Block `inputs` of a segmentation fine-tune."""

    augment: AugmentParams
    order: OrderParams


class CropBatch(NamedTuple):
    """Augmented crops with the labels of their pixels."""

    pixels: Tensor  # uint8 [n, size, size, 3]
    labels: Tensor  # int64 [n, size, size], classes from 0; 255 where there is none
    drop_path_noise: Tensor  # float32 [n, depth, 3] in [0, 1)
    # float32 [n, channels] in [0, 1), of the decode head's channels and then the auxiliary head's
    dropout_noise: Tensor


class Sample(NamedTuple):
    """One row of a `CropBatch`."""

    pixels: np.ndarray  # uint8 [size, size, 3]
    labels: np.ndarray  # int64 [size, size]
    drop_path_noise: np.ndarray  # float32 [depth, 3]
    dropout_noise: np.ndarray  # float32 [channels]


class CropBatches:
    """Map-style data set: the address of a micro-batch to its samples."""

    def __init__(self, folder: Path, params: InputParams, config: SegmentationConfig, seed: int):
        self.params, self.config, self.seed = params, config, seed
        self.filling = tuple(round(255 * mean) for mean in STATISTICS[config.statistics][0])
        groups = parquet.row_groups(folder, "train")
        self.rows = RowReader(
            groups, 2 * params.order.streams * params.order.shuffle_block, COLUMNS
        )
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "crops")

    def __getitem__(self, micro_batch: MicroBatch) -> CropBatch:
        return collate([self._sample(index) for index in self.order.samples(micro_batch)])

    def _sample(self, index: SampleIndex) -> Sample:
        rng = seeds.generator(self.seed, "crop", index.position)
        row, _ = self.rows.get(index.group, index.offset)
        head, params = self.config.head, self.params
        labels = training_labels(decoded_mask(row["mask"], head.classes, row["key"]))
        pixels, labels = augmented(
            images.decode(row["image"]),
            labels,
            params.image_size,
            params.base,
            params.resize_filter,
            params.augment,
            self.filling,
            rng,
        )
        return Sample(
            pixels,
            labels.astype(np.int64),
            rng.random((self.config.backbone.depth, DROP_PATH_BRANCHES), dtype=np.float32),
            rng.random(head.channels + head.auxiliary_channels, dtype=np.float32),
        )


def collate(samples: list[Sample]) -> CropBatch:
    """Stack samples."""
    return CropBatch(*(stack(arrays) for arrays in zip(*samples, strict=True)))


@dataclass(frozen=True)
class LabeledImage:
    """An image and the class of each of its pixels, uint8 [height, width]: 0 none, else from 1."""

    key: str
    image: Image.Image
    truth: np.ndarray


def labeled_images(
    folder: Path, split: str, classes: int, limit: int | None = None
) -> Iterator[LabeledImage]:
    """The images of a split in order, the first `limit` of them."""
    for row in islice(parquet.read_rows(folder, split, COLUMNS), limit):
        truth = decoded_mask(row["mask"], classes, row["key"])
        yield LabeledImage(row["key"], images.decode(row["image"]), truth)


def check_classes(folder: Path, split: str, classes: int) -> None:
    """Raises UserError where one of the first masks of a split has more classes than the head."""
    for row in islice(parquet.read_rows(folder, split, ("key", "mask")), CHECKED_MASKS):
        decoded_mask(row["mask"], classes, row["key"])


def decoded_mask(data: bytes, classes: int, key: str) -> np.ndarray:
    """Classes uint8 [height, width], 0 for none. Raises UserError where there are more classes than
    the head has."""
    mask = images.decode_mask(data)
    if mask.max() > classes:
        raise UserError(
            f"mask {key}: class {mask.max()}, but the head has {classes}; set the head's classes"
        )
    return mask


def training_labels(mask: np.ndarray) -> np.ndarray:
    """Classes from 0, and 255 where there is none ("reduce zero label"), uint8 [height, width]."""
    return np.where(mask == 0, np.uint8(IGNORED), mask - np.uint8(1))
