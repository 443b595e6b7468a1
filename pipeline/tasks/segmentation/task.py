"""Fine-tuning and evaluation of semantic segmentation (VL-BEiT §3.3, with BEiT's recipe for
ADE20K).

Pictures come in -1..1 as everywhere in this project; the model itself changes to the statistics
that it was given.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.heads.segmentation import IGNORED, HeadConfig, Segmentation, SegmentationConfig
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.tasks import Folders
from pipeline.tasks.segmentation import metrics, visualize
from pipeline.tasks.segmentation.data import CropBatches, InputParams, Labelled, labelled
from pipeline.tasks.segmentation.predict import TestParams, segments
from pipeline.training import loop, step

SHOWN = 6  # pictures in overlays.png


@dataclass(frozen=True)
class LossWeightParams:
    """Of the two heads' losses in the sum."""

    decode: float
    auxiliary: float


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Block `<scale>.finetune.<data>`: the keys of all fine-tunes stand beside these."""

    inputs: InputParams
    head: HeadConfig
    loss_weights: LossWeightParams
    evaluation_images: (
        int  # of the validation split, looked at in training; nothing is selected by them
    )


@dataclass(frozen=True)
class EvaluateParams:
    """Block `<scale>.evaluate.<data>`."""

    split: str
    ratios: list[float]  # on the size of the pictures; [1.0]: single scale
    flip: bool  # add mirrored pictures
    names: str  # of the classes, for people, with commas; empty: their numbers
    batch: int  # windows
    threads: int

    @property
    def class_names(self) -> list[str]:
        return [name.strip() for name in self.names.split(",")] if self.names else []


class Task(step.Task):
    """What the loop needs to know of segmentation. The last weights stay: the validation split is
    the test split."""

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        self.params, self.folders = params, folders
        self.loss_weights = asdict(params.loss_weights)
        config = replace(backbone, image_size=params.inputs.image_size, drop_path=params.drop_path)
        try:
            self.model = Segmentation(
                SegmentationConfig(config, params.head, params.inputs.normalize)
            )
        except ValueError as error:
            raise UserError(f"params.yaml: head.{error}") from None

    @cached_property
    def batches(self) -> CropBatches:
        """Augmented crops."""
        return CropBatches(
            self.folders.shards, self.params.inputs, self.model.config, self.params.seed
        )

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy of both heads."""
        return module(
            images.normalize(batch["pixels"]),
            batch["labels"],
            batch["drop_path_noise"],
            batch["dropout"],
        )

    def num_targets(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Pixels with a class, for either head."""
        return dict.fromkeys(self.loss_weights, float((batch["labels"] != IGNORED).sum()))

    def evaluate(self) -> dict[str, float]:
        """mIoU and pixel accuracy on some validation pictures, at a single scale."""
        params = self.params
        test = test_params(params.inputs, [1.0], False, params.evaluation_batch)
        pictures = labelled(
            self.folders.shards, "val", params.head.classes, params.evaluation_images
        )
        each = [
            metrics.areas(predicted, picture.truth, params.head.classes)
            for picture, predicted in segments(self.model, pictures, test)
        ]
        return metrics.scores(np.sum(each, axis=0))


def test_params(inputs: InputParams, ratios: list[float], flip: bool, batch: int) -> TestParams:
    """Windows as large as the crops of training."""
    return TestParams(inputs.image_size, inputs.stride, inputs.base, ratios, flip, batch)


def evaluate(
    model: Segmentation, folders: Folders, tuned: FineTuneParams, params: EvaluateParams, out: Path
) -> dict[str, Any]:
    """mIoU on a split. `out` gets the predicted masks, the score of each class, and some pictures
    to look at."""
    classes = model.config.head.classes
    if params.class_names and len(params.class_names) != classes:
        raise UserError(
            f"params.yaml: names: expected {classes} names of classes or none, found {len(params.class_names)}"
        )
    test = test_params(tuned.inputs, params.ratios, params.flip, params.batch)
    each: list[np.ndarray] = []
    shown: list[tuple[Labelled, np.ndarray]] = []
    with visualize.MaskZip(out / "predictions.zip") as archive:
        for picture, predicted in segments(
            model, labelled(folders.shards, params.split, classes), test
        ):
            each.append(metrics.areas(predicted, picture.truth, classes))
            archive.add(picture.key, predicted)
            if len(shown) < SHOWN:
                shown.append((picture, predicted))
    total = np.sum(each, axis=0)
    visualize.write_classes(out / "classes.csv", total, params.class_names)
    visualize.draw(out / "overlays.png", shown, params.class_names)
    return {
        "pictures": len(each),
        "classes_seen": int((total[metrics.TRUTH] > 0).sum()),
        **metrics.scores(total),
        "standard_error": metrics.standard_error(np.stack(each)),
        "majority": metrics.majority(total),
        "chance": metrics.chance(total),
    }


def class_names(folders: Folders, tuned: FineTuneParams, params: EvaluateParams) -> list[str]:
    """As params.yaml has them; the first is class 1."""
    return params.class_names


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line."""
    return {
        "miou": result["miou"],
        "pixel_accuracy": result["pixel_accuracy"],
        "score": result["miou"],
    }
