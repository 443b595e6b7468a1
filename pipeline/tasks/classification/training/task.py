"""Fine-tuning of image classification (VL-BEiT §3.3)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.heads.classification import Classification, ClassificationConfig
from pipeline.config.limits import Width
from pipeline.tasks import Folders
from pipeline.tasks.classification.training import metrics
from pipeline.tasks.classification.training.data import (
    ImageBatch,
    ImageBatches,
    InputParams,
    check_classes,
)
from pipeline.training import loop, step


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Block `finetune.<task>`: the keys of all fine-tunes, and these."""

    classes: Width  # of the head
    inputs: InputParams


class Task(step.Task):
    """Training and validation of a classifier."""

    model: Classification
    loss_weights: Mapping[str, float] = {"ce": 1.0}

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        self.params, self.folders = params, folders
        for split in ("train", "val"):
            check_classes(folders.shards, split, params.classes)
        config = replace(backbone, image_size=params.inputs.image_size, drop_path=params.drop_path)
        self.model = Classification(
            ClassificationConfig(config, params.classes, text=config.vocab_size > 0)
        )

    @cached_property
    def batches(self) -> ImageBatches:
        """Augmented training images."""
        depth, params = self.model.config.backbone.depth, self.params
        return ImageBatches(self.folders.shards, params.inputs, params.classes, depth, params.seed)

    def loss(self, module: nn.Module, batch: ImageBatch) -> dict[str, Tensor]:
        """Cross-entropy with soft targets."""
        logits = module(batch.pixels, batch.drop_path_noise)
        return {"ce": -(batch.targets * logits.log_softmax(dim=1)).sum()}

    def num_targets(self, batch: ImageBatch) -> dict[str, float]:
        """Images."""
        return {"ce": float(len(batch.targets))}

    def evaluate(self) -> dict[str, float]:
        """Accuracy on the validation split. It is the test split too, so none of this is a `score`
        to select by."""
        params = self.params
        predictions = metrics.predict(
            self.model, self.folders.shards, "val", params.inputs, params.evaluation_batch
        )
        loss = predictions.losses.mean().item()
        return {**metrics.accuracy(predictions.ranks), "ce_loss": loss}
