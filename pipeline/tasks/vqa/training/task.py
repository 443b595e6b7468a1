"""Fine-tuning of visual question answering (VL-BEiT §3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.heads.vqa import VQA, VQAConfig, answer_loss, answerable
from pipeline.config.limits import Count
from pipeline.data.transforms import images
from pipeline.tasks import Folders
from pipeline.tasks.vqa.training.data import (
    InputParams,
    QuestionBatch,
    QuestionBatches,
    answer_frequencies,
    frequent_answers,
    questions,
)
from pipeline.tasks.vqa.training.metrics import mean_accuracy, predict
from pipeline.tokenizers.text import TextTokenizer
from pipeline.training import loop, step


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Block `finetune.<task>`: the keys of all fine-tunes, and these."""

    inputs: InputParams
    min_answer_count: Count  # an answer is a class if it is the best one of so many questions
    # the classifier starts from how often each answer is right, not from zero
    init_bias_from_frequency: bool


def model_config(backbone: BackboneConfig, answers: tuple[str, ...]) -> VQAConfig:
    """The model on a backbone: BEiT-3's has BEiT-3's head, and no norm before it."""
    is_beit3 = backbone.experts == "multiway"
    backbone = replace(backbone, final_norm=backbone.final_norm and not is_beit3)
    return VQAConfig(backbone, answers, image_cls=is_beit3)


class Task(step.Task):
    """Training and validation of question answering."""

    model: VQA
    loss_weights: Mapping[str, float] = {"bce": 1.0}

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        self.params, self.folders = params, folders
        self.tokenizer = TextTokenizer.load_for(folders.text_tokenizer, backbone.vocab_size)
        config = replace(backbone, image_size=params.inputs.image_size, drop_path=params.drop_path)
        answers = frequent_answers(folders.shards, params.min_answer_count)
        self.model = VQA(model_config(config, answers))
        if params.init_bias_from_frequency:
            frequencies = answer_frequencies(folders.shards, answers)
            self.model.init_bias_from_frequency(torch.from_numpy(frequencies))

    @cached_property
    def batches(self) -> QuestionBatches:
        """Questions about augmented training images."""
        config = self.model.config
        return QuestionBatches(
            self.folders.shards,
            self.tokenizer,
            config.answers,
            self.params.inputs,
            config.backbone.depth,
            self.params.seed,
        )

    def loss(self, module: nn.Module, batch: QuestionBatch) -> dict[str, Tensor]:
        """Binary cross-entropy of every answer, summed over the answers."""
        pixels = images.normalize(batch.pixels)
        logits = module(pixels, batch.ids, batch.mask, batch.drop_path_noise)
        return {"bce": answer_loss(logits, batch.targets)}

    def num_targets(self, batch: QuestionBatch) -> dict[str, float]:
        """Questions that a class answers."""
        return {"bce": answerable(batch.targets).sum().item()}

    def evaluate(self) -> dict[str, float]:
        """Official accuracy on the validation images, as `score`: of all questions, also those no
        class answers."""
        inputs = self.params.inputs
        shown = questions(self.folders.shards, "val", inputs.image_size)
        predictions = predict(
            self.model, shown, self.tokenizer, inputs.text_length, self.params.evaluation_batch
        )
        return {"score": mean_accuracy(predictions)}
