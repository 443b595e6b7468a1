"""Evaluation of semantic segmentation: mIoU beside its baselines, predicted masks, the score of
each class, and a figure."""

import csv
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.heads.segmentation import Segmentation
from pipeline.config.limits import Count, Factors, Precision, SplitName, Threads
from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.tasks import Folders
from pipeline.tasks.batch_results import BatchMaps, unkept
from pipeline.tasks.segmentation import visualize
from pipeline.tasks.segmentation.training import metrics
from pipeline.tasks.segmentation.training.data import (
    EvaluationInputs,
    LabeledImage,
    labeled_images,
)
from pipeline.tasks.segmentation.training.metrics import TRUTH, ious, scores
from pipeline.tasks.segmentation.training.sliding_window import WindowParams, segment
from pipeline.utils import files

SHOWN = 6  # images in overlays.png
_DATE = (2016, 1, 1, 0, 0, 0)  # of all masks in the zip, whose bytes thus depend on these alone


@dataclass(frozen=True)
class EvaluateParams:
    """Block `evaluate.<data>`."""

    split: SplitName
    ratios: Factors  # on the size of the images; [1.0]: single scale
    flip: bool  # add mirrored images
    names: str  # of the classes, for people, with commas; empty: their numbers
    batch: Count  # windows
    threads: Threads
    precision: Precision

    @property
    def class_names(self) -> list[str]:
        """One by one; none where only numbers are known."""
        return [name.strip() for name in self.names.split(",")] if self.names else []


def evaluate(
    model: Segmentation,
    folders: Folders,
    inputs: EvaluationInputs,
    params: EvaluateParams,
    out: Path,
    maps: BatchMaps = unkept,
) -> dict[str, Any]:
    """mIoU on a split. `predictions.zip` in `out` has the predicted masks, `classes.csv` the score
    of each class, and `overlays.png` some images with truth and prediction."""
    classes = model.config.head.classes
    names = params.class_names
    if names and len(names) != classes:
        raise UserError(
            f"params.yaml: names: expected {classes} names of classes or none, found {len(names)}"
        )
    windows = WindowParams.of(inputs, params.ratios, params.flip, params.batch)
    areas: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    keys = [row["key"] for row in parquet.read_rows(folders.shards, params.split, ("key",))]
    run = maps("images", len(keys))
    segmented = _Segmented(model, folders.shards, params.split, windows)
    with MaskZip(out / "predictions.zip") as archive:
        for number, (mask, counted) in run(segmented.image, range(len(keys))):
            areas.append(counted[0].numpy())
            archive.add(keys[number], mask[0].numpy())
            if number < SHOWN:
                masks.append(mask[0].numpy())
    first = labeled_images(folders.shards, params.split, classes, SHOWN)
    shown = list(zip(first, masks, strict=True))
    total = np.sum(areas, axis=0)
    write_classes(out / "classes.csv", total, names)
    visualize.draw(out / "overlays.png", shown, names)
    return {
        "images": len(areas),
        "classes_seen": int((total[TRUTH] > 0).sum()),
        **scores(total),
        "standard_error": standard_error(np.stack(areas)),
        "majority": majority(total),
        "chance": chance(total),
    }


class _Segmented:
    """Predictions for a split's images, which are asked for in order, from any one on."""

    def __init__(self, model: Segmentation, shards: Path, split: str, windows: WindowParams):
        self.model, self.shards, self.split, self.windows = model, shards, split, windows
        self.classes = model.config.head.classes
        self._rest: Iterator[tuple[LabeledImage, np.ndarray]] | None = None

    def image(self, number: int) -> tuple[Tensor, Tensor]:
        """The predicted mask, uint8 [1, height, width], and its areas, int64 [1, 3, classes]."""
        if self._rest is None:
            labeled = labeled_images(self.shards, self.split, self.classes)
            self._rest = segment(self.model, labeled, self.windows, number)
        image, mask = next(self._rest)
        areas = metrics.areas(mask, image.truth, self.classes)
        return torch.from_numpy(mask)[None], torch.from_numpy(areas)[None]


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line; `score` is the mIoU."""
    miou = result["miou"]
    return {"miou": miou, "pixel_accuracy": result["pixel_accuracy"], "score": miou}


def class_names(folders: Folders, fine_tune: Any, params: EvaluateParams) -> list[str]:
    """As params.yaml has them; the first is class 1."""
    return params.class_names


def standard_error(areas: np.ndarray) -> float:
    """Of the mIoU, by the jackknife over images; areas: of every image, [images, 3, classes]."""
    without = ious(areas.sum(axis=0) - areas).mean(axis=1)
    return float(np.sqrt((len(areas) - 1) * np.var(without)))


def majority(total: np.ndarray) -> dict[str, float]:
    """What the most frequent class of the truth, everywhere, would score."""
    truth = total[TRUTH]
    best = np.arange(len(truth)) == truth.argmax()
    return scores(np.stack([truth * best, truth.sum() * best, truth]))


def chance(total: np.ndarray) -> dict[str, float]:
    """What classes drawn for each pixel independently, all equally likely, would score."""
    truth = total[TRUTH]
    predicted = np.full(len(truth), truth.sum() / len(truth))
    return scores(np.stack([truth / len(truth), predicted, truth]))


class MaskZip:
    """A zip of predicted masks in the format of the annotations: PNG of mode L, classes from 1."""

    def __init__(self, path: Path):
        self._archive = zipfile.ZipFile(path, "w")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._archive.close()

    def add(self, key: str, mask: np.ndarray) -> None:
        """uint8 [height, width]."""
        buffer = BytesIO()
        Image.fromarray(mask).save(buffer, "PNG")
        self._archive.writestr(zipfile.ZipInfo(f"{key}.png", _DATE), buffer.getvalue())


def write_classes(path: Path, total: np.ndarray, names: Sequence[str]) -> None:
    """A row per class: number, name, intersection over union, and its share of the labeled pixels.

    total: summed areas [3, classes].
    """
    shares = total[TRUTH] / max(total[TRUTH].sum(), 1)
    with (
        files.replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("class", "name", "iou", "share"))
        for number, (iou, share) in enumerate(zip(ious(total), shares, strict=True), 1):
            name = visualize.class_name(names, number)
            writer.writerow((number, name, f"{iou:.6f}", f"{share:.6f}"))
