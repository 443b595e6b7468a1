"""Fine-tuning of semantic segmentation (VL-BEiT §3.3, with BEiT's recipe for ADE20K).

Pixels come in -1..1 as everywhere in this project; the model itself changes to the statistics that
it was given.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.heads.segmentation import IGNORED, HeadConfig, Segmentation, SegmentationConfig
from pipeline.config.limits import Count
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.tasks import Folders
from pipeline.tasks.segmentation.training import metrics
from pipeline.tasks.segmentation.training.data import (
    CropBatch,
    CropBatches,
    InputParams,
    check_classes,
    labeled_images,
)
from pipeline.tasks.segmentation.training.sliding_window import WindowParams, segment
from pipeline.training import loop, step


@dataclass(frozen=True)
class LossWeightParams:
    """Of the two heads' losses in the sum."""

    decode: float
    auxiliary: float


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Block `finetune.<task>`: the keys of all fine-tunes, and these."""

    inputs: InputParams
    head: HeadConfig
    loss_weights: LossWeightParams
    # of the validation split, for the curve in training; nothing is selected by them
    evaluation_images: Count


class Task(step.Task):
    """Training and validation of segmentation. The last weights are kept: the validation split is
    the test split."""

    model: Segmentation
    loss_weights: Mapping[str, float]

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        self.params, self.folders = params, folders
        self.loss_weights = asdict(params.loss_weights)
        config = replace(backbone, image_size=params.inputs.image_size, drop_path=params.drop_path)
        try:
            self.model = Segmentation(
                SegmentationConfig(
                    config, params.head, params.inputs.normalize, text=config.vocab_size > 0
                )
            )
        except ValueError as error:
            raise UserError(f"params.yaml: head.{error}") from None

        for split in ("train", "val"):
            check_classes(folders.shards, split, params.head.classes)

    @cached_property
    def batches(self) -> CropBatches:
        """Augmented crops."""
        return CropBatches(
            self.folders.shards, self.params.inputs, self.model.config, self.params.seed
        )

    def loss(self, module: nn.Module, batch: CropBatch) -> dict[str, Tensor]:
        """Cross-entropy of both heads."""
        pixels = images.normalize(batch.pixels)
        return module(pixels, batch.labels, batch.drop_path_noise, batch.dropout_noise)

    def num_targets(self, batch: CropBatch) -> dict[str, float]:
        """Pixels with a class, for either head."""
        return dict.fromkeys(self.loss_weights, float((batch.labels != IGNORED).sum()))

    def evaluate(self) -> dict[str, float]:
        """mIoU and pixel accuracy on some validation images, at a single scale."""
        params = self.params
        windows = WindowParams.of(params.inputs, [1.0], False, params.evaluation_batch)
        labeled = labeled_images(
            self.folders.shards, "val", params.head.classes, params.evaluation_images
        )
        areas = [
            metrics.areas(predicted, image.truth, params.head.classes)
            for image, predicted in segment(self.model, labeled, windows)
        ]
        return metrics.scores(np.sum(areas, axis=0))
