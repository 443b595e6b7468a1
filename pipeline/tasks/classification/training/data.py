"""Labeled images: augmented and mixed for training, resized and cropped in the center for
evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from pipeline.config.limits import Pixels, ShareBelowOne
from pipeline.data.loading.row_reader import RowReader
from pipeline.data.loading.sampler import MicroBatch, OrderParams, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images, views
from pipeline.errors import UserError
from pipeline.tasks.classification.training.augment import (
    ErasingParams,
    MixingParams,
    drawing_from,
    erasing,
    mixing,
    rand_augment,
)
from pipeline.tasks.image_text_inputs import stack
from pipeline.utils import seeds

COLUMNS = ("key", "image", "label")


@dataclass(frozen=True)
class EvaluationInputs:
    """What evaluation reads of the block `inputs` of the fine-tune."""

    image_size: Pixels  # pixels
    resize: Pixels  # of the shorter side, before the central `image_size` is cut out for evaluation

    def __post_init__(self) -> None:
        if self.resize < self.image_size:
            raise UserError(
                f"inputs.resize: at least the image_size, {self.image_size}; found {self.resize}"
            )


@dataclass(frozen=True)
class InputParams(EvaluationInputs):
    """Block `inputs` of the fine-tune."""

    crop: views.ViewParams
    rand_augment: str | None  # timm's configuration string; null: none
    erasing: ErasingParams
    mixing: MixingParams
    label_smoothing: ShareBelowOne  # share of the target that is spread over all classes
    order: OrderParams


class ImageBatch(NamedTuple):
    """Augmented images with soft targets."""

    pixels: Tensor  # float [n, 3, size, size], normalized
    targets: Tensor  # float [n, classes], each row sums to one
    drop_path_noise: Tensor  # float [n, depth, 3] in [0, 1)


class _Sample(NamedTuple):
    pixels: Tensor  # float [3, size, size]
    label: int
    drop_path_noise: np.ndarray  # float32 [depth, 3]


class ImageBatches:
    """Map-style data set: the address of a micro-batch to its samples.

    Images are mixed within a stream's samples of the batch, as BEiT mixes them within a worker's: all
    samples of a stream are in one micro-batch, so the global batch does not depend on the number of
    workers.
    """

    def __init__(self, folder: Path, params: InputParams, classes: int, depth: int, seed: int):
        self.folder, self.params, self.classes = folder, params, classes
        self.depth, self.seed = depth, seed
        cache = 2 * params.order.streams * params.order.shuffle_block
        self.rows = RowReader(parquet.row_groups(folder, "train"), cache, COLUMNS)
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "pictures")
        self.share = (
            params.order.batch_size // params.order.streams
        )  # samples of a stream in a batch
        if self.share % 2:
            raise UserError(
                f"inputs.order: images are mixed in pairs: batch_size / streams is {self.share}, not even"
            )
        self.augment = rand_augment(params.rand_augment, params.image_size)
        self.erase = erasing(params.erasing)
        self.mix = mixing(params.mixing, params.label_smoothing, classes)

    def __getitem__(self, micro_batch: MicroBatch) -> ImageBatch:
        indices = self.order.samples(micro_batch)
        samples = [self._sample(index) for index in indices]
        views, classes, noise = zip(*samples, strict=True)
        pixels, labels = torch.stack(views), torch.tensor(classes)
        return ImageBatch(pixels, self._targets(pixels, labels, indices), stack(noise))

    def _targets(self, pixels: Tensor, labels: Tensor, indices: list[SampleIndex]) -> Tensor:
        """Targets [n, classes] after mixing, which changes pixels in place."""
        if self.mix is None:
            return smoothed(labels, self.params.label_smoothing, self.classes)
        targets = []
        for first in range(0, len(indices), self.share):
            stream = slice(first, first + self.share)
            with drawing_from(self.seed, "mix", indices[first].position):
                _, mixed = self.mix(pixels[stream], labels[stream])
            targets.append(mixed)
        return torch.cat(targets)

    def _sample(self, index: SampleIndex) -> _Sample:
        row, _ = self.rows.get(index.group, index.offset)
        rng = seeds.generator(self.seed, "drop path", index.position)
        noise = rng.random((self.depth, DROP_PATH_BRANCHES), dtype=np.float32)
        pixels = self._pixels(images.decode(row["image"]), index.position)
        return _Sample(pixels, checked_label(row, self.classes, self.folder), noise)

    def _pixels(self, image: Image.Image, position: int) -> Tensor:
        """Resized crop, flip, RandAugment, then erasing of the normalized image: float [3, size,
        size]."""
        crop = self.params.crop
        mean_luma = images.mean_luma(image) if crop.color_jitter else 0.0
        view = views.draw(self.seed, "picture", position, *image.size, mean_luma, crop)
        cropped = views.apply(image, view, self.params.image_size)
        if self.augment is None and self.erase is None:
            return _normalized(cropped)
        with drawing_from(self.seed, "augment", position):
            if self.augment is not None:
                cropped = np.array(self.augment(Image.fromarray(cropped)))
            pixels = _normalized(cropped)
            return pixels if self.erase is None else self.erase(pixels)


def smoothed(labels: Tensor, smoothing: float, classes: int) -> Tensor:
    """Labels int64 [n] as targets float [n, classes]: all classes share `smoothing` evenly, and the
    label has the rest."""
    return F.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes


def _normalized(pixels: np.ndarray) -> Tensor:
    """uint8 [size, size, 3] to float [3, size, size]."""
    return images.normalize(stack([pixels]))[0]


class EvaluationBatch(NamedTuple):
    """Images as they are evaluated."""

    keys: list[str]
    pixels: Tensor  # uint8 [n, size, size, 3]
    labels: Tensor  # int64 [n]


def evaluation_batches(
    folder: Path, split: str, params: EvaluationInputs, classes: int, batch: int
) -> Iterator[EvaluationBatch]:
    """A split in order, `batch` images at a time.

    Raises:
        UserError: an image is of a class beyond `classes`.
    """
    rows = parquet.read_rows(folder, split, COLUMNS)
    while chunk := list(islice(rows, batch)):
        pixels = []
        for row in chunk:
            image = images.decode(row["image"])
            pixels.append(center_crop(image, params.resize, params.image_size))
        labels = [checked_label(row, classes, folder) for row in chunk]
        yield EvaluationBatch([row["key"] for row in chunk], stack(pixels), torch.tensor(labels))


def center_crop(image: Image.Image, resize: int, size: int) -> np.ndarray:
    """The shorter side resized to `resize`, then the center: uint8 [size, size, 3] (BEiT;
    torchvision's rounding)."""
    short = min(image.size)
    width, height = (int(resize * side / short) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), images.INTERPOLATION)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def check_classes(folder: Path, split: str, classes: int) -> None:
    """Raises UserError where a label of a split is none of the head's, without reading images."""
    most = parquet.largest(folder, split, "label")
    if most >= classes:
        raise UserError(
            f"params.yaml: finetune.{folder.name}.classes: {classes}, but images of split {split} "
            f"are of classes up to {most}, counted from 0: at least {most + 1}"
        )


def checked_label(row: dict[str, Any], classes: int, folder: Path) -> int:
    """The label of a row. Raises UserError where the head has no such class."""
    if not 0 <= row["label"] < classes:
        raise UserError(
            f"{folder}: image {row['key']} is of class {row['label']}, but the head has {classes} "
            f"classes; see finetune.{folder.name}.classes"
        )
    return row["label"]
