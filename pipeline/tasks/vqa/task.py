"""Fine-tuning and evaluation of visual question answering (VL-BEiT §3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.heads.vqa import VQA, VQAConfig, answer_loss, answerable
from pipeline.data.datasets.vqa_question_types import question_type
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.tasks import Folders
from pipeline.tasks.image_text_inputs import PairParams
from pipeline.tasks.vqa import visualize
from pipeline.tasks.vqa.data import (
    Asked,
    QuestionBatches,
    answer_shares,
    best_by_type,
    frequent_answers,
    questions,
)
from pipeline.tasks.vqa.metrics import soft_targets
from pipeline.tasks.vqa.predict import Prediction, by_kind, predict, shares, standard_error
from pipeline.tokenizers.text import TextTokenizer
from pipeline.training import loop, step
from pipeline.utils import files

HALVES = ("test_dev", "test_std")


@dataclass(frozen=True)
class FineTuneParams(loop.FineTuneParams):
    """Block `<scale>.finetune.<data>`: the keys of all fine-tunes stand beside these."""

    inputs: PairParams
    min_answer_count: int  # an answer is a class if it is the best one of so many questions
    init_bias_from_frequency: (
        bool  # the classifier starts from how often each answer is right, not from zero
    )


@dataclass(frozen=True)
class EvaluateParams:
    """Block `<scale>.evaluate.<data>`. The evaluation server's scores are shares in 0..1, null
    while unknown."""

    split: str
    batch: int
    server_test_dev: float | None
    server_test_std: float | None
    threads: int

    def __post_init__(self) -> None:
        for half in HALVES:
            value = self.server(half)
            if value is not None and not 0 <= value <= 1:
                raise UserError(
                    f"params.yaml: server_{half}: expected a share in 0..1 (77.5% is 0.775), found {value}"
                )

    def server(self, half: str) -> float | None:
        """The server's score for `test_dev` or `test_std`."""
        return getattr(self, f"server_{half}")


class Task(step.Task):
    """What the loop needs to know of question answering."""

    loss_weights = {"bce": 1.0}

    def __init__(self, params: FineTuneParams, backbone: BackboneConfig, folders: Folders):
        self.params, self.folders = params, folders
        self.tokenizer = TextTokenizer.load(folders.text_tokenizer)
        config = replace(backbone, image_size=params.inputs.image_size, drop_path=params.drop_path)
        answers = frequent_answers(folders.shards, params.min_answer_count)
        self.model = VQA(VQAConfig(config, answers))
        if params.init_bias_from_frequency:
            self.model.init_bias_from_frequency(
                torch.from_numpy(answer_shares(folders.shards, answers))
            )

    @cached_property
    def batches(self) -> QuestionBatches:
        """Augmented training pairs."""
        config = self.model.config
        return QuestionBatches(
            self.folders.shards,
            self.tokenizer,
            config.answers,
            self.params.inputs,
            config.backbone.depth,
            self.params.seed,
        )

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Binary cross-entropy of every answer, summed over the answers."""
        logits = module(
            images.normalize(batch["pixels"]), batch["ids"], batch["mask"], batch["drop_path_noise"]
        )
        return {"bce": answer_loss(logits, batch["targets"])}

    def num_targets(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Questions that a class answers."""
        return {"bce": answerable(batch["targets"]).sum().item()}

    def evaluate(self) -> dict[str, float]:
        """Official accuracy on the held-out pictures, as `score`: of all questions, also those no
        class answers."""
        inputs = self.params.inputs
        shown = questions(self.folders.shards, "val", inputs.image_size)
        found = predict(
            self.model, shown, self.tokenizer, inputs.text_length, self.params.evaluation_batch
        )
        return {"score": fmean(prediction.accuracy for prediction in found)}


def evaluate(
    model: VQA, folders: Folders, tuned: FineTuneParams, params: EvaluateParams, out: Path
) -> dict[str, Any]:
    """Answers to the test questions, for the evaluation server and as pictures; accuracy where
    answers are known."""
    tokenizer, size = TextTokenizer.load(folders.text_tokenizer), model.config.backbone.image_size

    def answered(split: str, *, swapped: bool = False) -> list[Prediction]:
        shown = questions(folders.shards, split, size, swapped=swapped)
        return list(predict(model, shown, tokenizer, tuned.inputs.text_length, params.batch))

    predictions = answered(params.split)
    write_submission(predictions, out / "submission.json")
    visualize.draw(
        visualize.choose(predictions),
        questions(folders.shards, params.split, size),
        out / "answers.png",
    )
    scored = [prediction for prediction in predictions if prediction.accuracy is not None]
    result = {
        "questions": len(predictions),
        "scored": len(scored),
        "answers": len(model.config.answers),
        "accuracy": None,
        **dict.fromkeys(HALVES),
        "validation": fmean(prediction.accuracy for prediction in answered("val")),
    }
    if scored:
        swapped = [
            prediction
            for prediction in answered(params.split, swapped=True)
            if prediction.asked.answers
        ]
        asked = [prediction.asked for prediction in scored]
        result |= shares(asked, lambda place: scored[place].answer)
        result |= {
            "standard_error": standard_error(scored),
            **by_kind(scored),
            "shuffled_images": shares(asked, lambda place: swapped[place].answer),
            **_blind(model, asked, best_by_type(folders.shards)),
        }
    server = {half: params.server(half) for half in HALVES}
    return result | {half: value for half, value in server.items() if value is not None}


def _blind(
    model: VQA, asked: Sequence[Asked], by_type: dict[str, str]
) -> dict[str, dict[str, float]]:
    """What can be had without a look at the pictures, from the labelled questions' answers."""
    most_frequent = model.config.answers[0]
    classes = {answer: place for place, answer in enumerate(model.config.answers)}
    return {
        "chance": {
            "accuracy": fmean(float(soft_targets(one.answers, classes).mean()) for one in asked)
        },
        "most_frequent": shares(asked, lambda place: most_frequent),
        "best_by_type": shares(
            asked, lambda place: by_type.get(question_type(asked[place].text), most_frequent)
        ),
    }


def write_submission(predictions: Sequence[Prediction], path: Path) -> None:
    """The file for the evaluation server: every question once.

    Raises:
        UserError: a question occurs twice.
    """
    answers = {prediction.asked.id: prediction.answer for prediction in predictions}
    if len(answers) < len(predictions):
        raise UserError(
            f"{path.name}: a test question occurs twice in the shards; run the shard stage again"
        )
    files.write_json(
        path, [{"question_id": number, "answer": answers[number]} for number in sorted(answers)]
    )


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line; `score` is the test accuracy, or else the
    validation's."""
    known = {name: result[name] for name in ("accuracy", *HALVES) if result[name] is not None}
    return {**known, "score": known.get("accuracy", result["validation"])}
