"""Labelled pictures: augmented and mixed for training, resized and cropped in the middle for
evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from pipeline.data.loading.row_reader import RowReader
from pipeline.data.loading.sampler import MicroBatch, OrderParams, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images, views
from pipeline.errors import UserError
from pipeline.tasks.classification.augment import (
    ErasingParams,
    MixingParams,
    drawing_from,
    erasing,
    mixing,
    rand_augment,
)
from pipeline.utils import seeds

COLUMNS = ("key", "image", "label")


@dataclass(frozen=True)
class InputParams:
    """Block `inputs` of the fine-tune."""

    image_size: int  # pixels
    resize: int  # of the shorter side, before `image_size` is cut out of the middle for evaluation
    crop: views.ViewParams
    rand_augment: str | None  # timm's configuration string; null: none
    erasing: ErasingParams
    mixing: MixingParams
    label_smoothing: float  # share of the target that is spread over all classes
    order: OrderParams

    def __post_init__(self) -> None:
        if self.resize < self.image_size:
            raise UserError(
                f"inputs.resize: at least the image_size, {self.image_size}; found {self.resize}"
            )


class LabelledBatches:
    """Map-style data set: a part of a step to its rows of the global batch.

    Pictures are mixed within a lane's rows of the batch, as in the sources within a worker's: a
    lane is always in one hand, so the global batch does not depend on the number of workers.
    """

    def __init__(self, folder: Path, params: InputParams, classes: int, depth: int, seed: int):
        self.folder, self.params, self.classes, self.depth, self.seed = (
            folder,
            params,
            classes,
            depth,
            seed,
        )
        cache = 2 * params.order.streams * params.order.shuffle_block
        self.rows = RowReader(parquet.row_groups(folder, "train"), cache, COLUMNS)
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "pictures")
        self.share = params.order.batch_size // params.order.streams  # rows of a lane in a batch
        if self.share % 2:
            raise UserError(
                f"inputs.order: pictures are mixed in pairs: batch_size / streams is {self.share}, not even"
            )
        self.rand_augment = rand_augment(params.rand_augment, params.image_size)
        self.erase = erasing(params.erasing)
        self.mix = mixing(params.mixing, params.label_smoothing, classes)

    def __getitem__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """`pixels` float [n, 3, size, size], `targets` [n, classes],
        `drop_path_noise` [n, depth, 3]."""
        units = self.order.samples(micro_batch)
        samples = [self._sample(index) for index in units]
        batch = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
        labels = batch.pop("label")
        targets = []
        for first in range(0, len(units), self.share):
            lane = slice(first, first + self.share)
            with drawing_from(self.seed, "mix", units[first].position):
                targets.append(
                    self.mix(batch["pixels"][lane], labels[lane])[1]
                )  # pixels are mixed in place
        return batch | {"targets": torch.cat(targets)}

    def _sample(self, index: SampleIndex) -> dict[str, Tensor]:
        row, _ = self.rows.get(index.group, index.offset)
        rng = seeds.generator(self.seed, "drop path", index.position)
        drop_path_noise = rng.random((self.depth, DROP_PATH_BRANCHES), dtype=np.float32)
        return {
            "pixels": self._pixels(images.decode(row["image"]), index.position),
            "label": torch.tensor(checked_label(row, self.classes, self.folder)),
            "drop_path_noise": torch.from_numpy(drop_path_noise),
        }

    def _pixels(self, image: Image.Image, position: int) -> Tensor:
        """Resized crop, flip, RandAugment, then erasing of the normalised picture: float [3, size,
        size]."""
        view = views.draw(
            self.seed, "picture", position, *image.size, images.mean_luma(image), self.params.crop
        )
        cropped = Image.fromarray(views.apply(image, view, self.params.image_size))
        with drawing_from(self.seed, "augment", position):
            augmented = torch.from_numpy(np.array(self.rand_augment(cropped)))
            return self.erase(images.normalize(augmented[None])[0])


@dataclass(frozen=True)
class EvaluationBatch:
    """Pictures as they are evaluated."""

    keys: list[str]
    pixels: Tensor  # uint8 [n, size, size, 3]
    labels: Tensor  # int64 [n]


def evaluation_batches(
    folder: Path, split: str, params: InputParams, classes: int, batch: int
) -> Iterator[EvaluationBatch]:
    """A split in order, `batch` pictures at a time.

    Raises:
        UserError: a picture is of a class beyond `classes`.
    """
    rows = parquet.read_rows(folder, split, COLUMNS)
    while chunk := list(islice(rows, batch)):
        pixels = [
            centre(images.decode(row["image"]), params.resize, params.image_size) for row in chunk
        ]
        labels = [checked_label(row, classes, folder) for row in chunk]
        yield EvaluationBatch(
            [row["key"] for row in chunk], torch.from_numpy(np.stack(pixels)), torch.tensor(labels)
        )


def centre(image: Image.Image, resize: int, size: int) -> np.ndarray:
    """The shorter side resized to `resize`, then the middle: uint8 [size, size, 3] (BEiT;
    torchvision's rounding)."""
    short = min(image.size)
    width, height = (int(resize * side / short) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), images.INTERPOLATION)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def checked_label(row: dict[str, Any], classes: int, folder: Path) -> int:
    """The label of a row. Raises UserError where the head has no such class."""
    if not 0 <= row["label"] < classes:
        raise UserError(
            f"{folder}: picture {row['key']} is of class {row['label']}, but the head has {classes} "
            f"classes; see finetune.{folder.name}.classes"
        )
    return row["label"]
