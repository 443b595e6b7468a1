"""Fine-tuning of NLVR2 (VL-BEiT §3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from torch import Tensor, nn

from model.backbone.chunked_cross_entropy import cross_entropy
from model.backbone.config import BackboneConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from pipeline.tasks import Folders
from pipeline.tasks.nlvr2.training.data import (
    InputParams,
    StatementBatch,
    StatementBatches,
    evaluation_batches,
    normalized,
)
from pipeline.tasks.nlvr2.training.metrics import SPLITS, predict
from pipeline.tokenizers.text import TextTokenizer
from pipeline.training import loop, step


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Block `finetune.<task>`: the keys of all fine-tunes, and these."""

    inputs: InputParams
    pooling: Literal["cls", "mean"]  # of a statement beside an image


def model_config(backbone: BackboneConfig, pooling: str) -> NLVR2Config:
    """The model on a backbone: BEiT-3's has BEiT-3's head, which reads class tokens."""
    if backbone.experts == "multiway":
        return NLVR2Config(backbone, image_cls=True)
    return NLVR2Config(backbone, pooling=pooling)


class Task(step.Task):
    """Training and validation of NLVR2."""

    model: NLVR2
    loss_weights: Mapping[str, float] = {"cross_entropy": 1.0}

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        self.params, self.folders = params, folders
        self.tokenizer = TextTokenizer.load_for(folders.text_tokenizer, backbone.vocab_size)
        config = replace(
            backbone,
            image_size=params.inputs.image_size,
            drop_path=params.drop_path,
            second_image_type=backbone.token_types,
        )
        self.model = NLVR2(model_config(config, params.pooling))

    @cached_property
    def batches(self) -> StatementBatches:
        """Augmented training examples."""
        depth = self.model.config.backbone.depth
        return StatementBatches(
            self.folders.shards, self.tokenizer, self.params.inputs, depth, self.params.seed
        )

    def loss(self, module: nn.Module, batch: StatementBatch) -> dict[str, Tensor]:
        """Two-way cross-entropy."""
        pixels = normalized(batch.pixels)
        logits = module(pixels, batch.ids, batch.mask, batch.drop_path_noise)
        return {"cross_entropy": cross_entropy(logits, batch.labels)}

    def num_targets(self, batch: StatementBatch) -> dict[str, float]:
        """Statements."""
        return {"cross_entropy": float(len(batch.labels))}

    def evaluate(self) -> dict[str, float]:
        """Accuracy and consistency on dev; `score` is the accuracy."""
        batches = evaluation_batches(
            self.folders.shards,
            SPLITS["dev"],
            self.tokenizer,
            self.params.inputs,
            self.params.evaluation_batch,
        )
        scores = predict(self.model, batches).scores()
        return {**scores, "score": scores["accuracy"]}
