"""Fine-tuning and evaluation of NLVR2 (VL-BEiT §3.2)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from model.backbone.chunked_cross_entropy import cross_entropy
from model.backbone.config import BackboneConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from pipeline.tasks import Folders
from pipeline.tasks.image_text_inputs import PairParams
from pipeline.tasks.nlvr2 import visualize
from pipeline.tasks.nlvr2.data import (
    Examples,
    StatementBatches,
    evaluation_batches,
    normalised,
    share_true,
)
from pipeline.tasks.nlvr2.metrics import chance, scores
from pipeline.tasks.nlvr2.predict import Predictions, predict, write
from pipeline.tokenizers.text import TextTokenizer
from pipeline.training import loop, step

SPLITS = {"dev": "val", "test_p": "test"}  # as people call them, and in the shards


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Block `<scale>.finetune.<data>`: the keys of all fine-tunes stand beside these."""

    inputs: PairParams


@dataclass(frozen=True)
class EvaluateParams:
    """Block `<scale>.evaluate.<data>`."""

    batch: int
    threads: int


class Task(step.Task):
    """What the loop needs to know of NLVR2."""

    loss_weights = {"cross_entropy": 1.0}

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        self.params, self.folders = params, folders
        self.tokenizer = TextTokenizer.load(folders.text_tokenizer)
        config = replace(backbone, image_size=params.inputs.image_size, drop_path=params.drop_path)
        self.model = NLVR2(NLVR2Config(config))

    @cached_property
    def batches(self) -> StatementBatches:
        """Augmented training examples."""
        depth = self.model.config.backbone.depth
        return StatementBatches(
            self.folders.shards, self.tokenizer, self.params.inputs, depth, self.params.seed
        )

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Two-way cross-entropy."""
        logits = module(
            normalised(batch["pixels"]), batch["ids"], batch["mask"], batch["drop_path_noise"]
        )
        return {"cross_entropy": cross_entropy(logits, batch["label"])}

    def num_targets(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Statements."""
        return {"cross_entropy": float(len(batch["label"]))}

    def evaluate(self) -> dict[str, float]:
        """Accuracy and consistency on dev; `score` is the accuracy."""
        data = evaluation_batches(
            self.folders.shards,
            SPLITS["dev"],
            self.tokenizer,
            self.params.inputs,
            self.params.evaluation_batch,
        )
        metrics = _scores(predict(self.model, data))
        return {**metrics, "score": metrics["accuracy"]}


def evaluate(
    model: NLVR2, folders: Folders, tuned: FineTuneParams, params: EvaluateParams, out: Path
) -> dict[str, Any]:
    """Accuracy and consistency on dev and test-P with their baselines; `predictions.csv` and
    `pairs.png` in `out`."""
    tokenizer = TextTokenizer.load(folders.text_tokenizer)
    majority = share_true(folders.shards) >= 0.5

    def batches(name: str) -> Iterator[Examples]:
        return evaluation_batches(
            folders.shards, SPLITS[name], tokenizer, tuned.inputs, params.batch
        )

    told = {name: predict(model, batches(name)) for name in SPLITS}
    shuffled = {name: predict(model, batches(name), shuffled=True) for name in SPLITS}
    write(told.values(), out / "predictions.csv")
    visualize.draw(next(batches("test_p")), told["test_p"].truth, out / "pairs.png")
    return {
        **{name: _scores(one) for name, one in told.items()},
        "examples": {name: len(one.keys) for name, one in told.items()},
        "chance": {name: chance(one.groups) for name, one in told.items()},
        "majority_class": {
            name: scores([majority] * len(one.keys), one.labels, one.groups)
            for name, one in told.items()
        },
        "shuffled_images": {name: _scores(one) for name, one in shuffled.items()},
    }


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line; `score` is the accuracy on test-P."""
    test = result["test_p"]
    return {
        "dev": result["dev"]["accuracy"],
        "test_p": test["accuracy"],
        "test_p_consistency": test["consistency"],
        "score": test["accuracy"],
    }


def _scores(told: Predictions) -> dict[str, float]:
    return scores(told.answers(), told.labels, told.groups)
