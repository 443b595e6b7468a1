"""Fine-tuning of brightness."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from model.heads.brightness import Brightness, BrightnessConfig
from pipeline.tasks.brightness.training import metrics
from pipeline.tasks.brightness.training.data import (
    ImageBatch,
    ImageBatches,
    InputParams,
    evaluation_batches,
)
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from pipeline.data.transforms import images
from pipeline.tasks import Folders
from pipeline.training import loop, step


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Blocks of `finetune`: the keys of all fine-tunes, and these."""

    inputs: InputParams


class Task(step.Task):
    """Training and validation of brightness."""

    model: Brightness
    loss_weights: Mapping[str, float] = {"mse": 1.0}

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        self.params, self.folders = params, folders
        config = replace(backbone, image_size=params.inputs.image_size, drop_path=params.drop_path)
        self.model = Brightness(BrightnessConfig(config))

    @cached_property
    def batches(self) -> ImageBatches:
        """Training images."""
        depth = self.model.config.backbone.depth
        return ImageBatches(self.folders.shards, self.params.inputs, depth, self.params.seed)

    def loss(self, module: nn.Module, batch: ImageBatch) -> dict[str, Tensor]:
        """Squared error."""
        predicted = module(images.normalize(batch.pixels), batch.drop_path_noise)
        return {"mse": (predicted - batch.brightness).square().sum()}

    def num_targets(self, batch: ImageBatch) -> dict[str, float]:
        """Images."""
        return {"mse": float(len(batch.brightness))}

    def evaluate(self) -> dict[str, float]:
        """Mean absolute error on the validation split; `score`, to select by, is its negative."""
        params = self.params
        batches = evaluation_batches(
            self.folders.shards, "val", params.inputs.image_size, params.evaluation_batch
        )
        error = metrics.errors(self.model, batches).abs().mean().item()
        return {"error": error, "score": -error}
