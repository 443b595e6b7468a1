"""Fine-tuning and evaluation of image classification (VL-BEiT §3.3)."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.heads.classification import Classification, ClassificationConfig
from pipeline.tasks import Folders
from pipeline.tasks.classification import metrics, visualize
from pipeline.tasks.classification.data import InputParams, LabelledBatches
from pipeline.training import loop, step


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Block `<scale>.finetune.<data>`: the keys of all fine-tunes stand beside these."""

    classes: int  # of the head
    inputs: InputParams


@dataclass(frozen=True)
class EvaluateParams:
    """Block `<scale>.evaluate.<data>`."""

    split: str
    batch: int
    threads: int


class Task(step.Task):
    """What the loop needs to know of classification."""

    loss_weights = {"ce": 1.0}

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        self.params, self.folders = params, folders
        config = replace(backbone, image_size=params.inputs.image_size, drop_path=params.drop_path)
        self.model = Classification(ClassificationConfig(config, params.classes))

    @cached_property
    def batches(self) -> LabelledBatches:
        """Augmented training pictures."""
        depth, params = self.model.config.backbone.depth, self.params
        return LabelledBatches(
            self.folders.shards, params.inputs, params.classes, depth, params.seed
        )

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy with soft targets."""
        logits = module(batch["pixels"], batch["drop_path_noise"])
        return {"ce": -(batch["targets"] * logits.log_softmax(dim=1)).sum()}

    def num_targets(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Pictures."""
        return {"ce": float(len(batch["targets"]))}

    def evaluate(self) -> dict[str, float]:
        """Accuracy on the validation split. It is the test split too, so none of this is a `score`
        to select by."""
        params = self.params
        found = metrics.predict(
            self.model, self.folders.shards, "val", params.inputs, params.evaluation_batch
        )
        return {**metrics.accuracy(found.place), "ce_loss": found.loss.mean().item()}


def evaluate(
    model: Classification,
    folders: Folders,
    tuned: FineTuneParams,
    params: EvaluateParams,
    out: Path,
) -> dict[str, Any]:
    """Accuracy on a split; `predictions.csv` and `pictures.png` in `out`."""
    found = metrics.predict(model, folders.shards, params.split, tuned.inputs, params.batch)
    counts, names = metrics.training_classes(folders.shards, model.config.classes)
    metrics.write_csv(found, out / "predictions.csv")
    visualize.draw(folders.shards, params.split, found, names, out / "pictures.png")
    return {
        "pictures": len(found.keys),
        "classes": model.config.classes,
        **metrics.accuracy(found.place),
        "chance": metrics.chance(model.config.classes),
        "majority": metrics.majority(found.truth, counts),
    }


def class_names(folders: Folders, tuned: FineTuneParams, params: EvaluateParams) -> list[str]:
    """Synset ids, in the order of the classifier's outputs; numbers for classes without a training
    picture."""
    _, names = metrics.training_classes(folders.shards, tuned.classes)
    return [names.get(label, str(label)) for label in range(tuned.classes)]


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line; `score` is top-1 accuracy."""
    return {"acc1": result["acc1"], "acc5": result["acc5"], "score": result["acc1"]}
