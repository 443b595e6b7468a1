"""Evaluation of visual question answering: the evaluation server's file, a figure, and where
answers are known the official accuracy beside its baselines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from model.heads.vqa import VQA
from pipeline.config.limits import Count, Precision, Share, SplitName, Threads
from pipeline.data.datasets.vqa_question_types import answer_type, question_type
from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.tasks import Folders
from pipeline.tasks.batch_results import BatchMaps, unkept
from pipeline.tasks.vqa import visualize
from pipeline.tasks.vqa.training.answers import accuracy, soft_targets, vocabulary
from pipeline.tasks.vqa.training.data import (
    EvaluationInputs,
    Question,
    class_indices,
    labeled_questions,
    questions,
)
from pipeline.tasks.vqa.training.metrics import Prediction, mean_accuracy, predict
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import files, seeds

HALVES = ("test_dev", "test_std")
COMPARISONS = ("shuffled_images", "most_frequent", "best_by_type")  # need annotators' answers


@dataclass(frozen=True)
class EvaluateParams:
    """Block `evaluate.<data>`. The evaluation server's scores are shares in 0..1, null
    while unknown."""

    split: SplitName
    batch: Count
    server_test_dev: Share | None
    server_test_std: Share | None
    validation_questions: Count | None  # of the split `val`; null: all
    # accuracy on them, as a share in 0..1, below which the model's answers cannot be in order
    min_validation: Share
    threads: Threads
    precision: Precision

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


def evaluate(
    model: VQA,
    folders: Folders,
    inputs: EvaluationInputs,
    params: EvaluateParams,
    out: Path,
    maps: BatchMaps = unkept,
) -> dict[str, Any]:
    """Answers to the test questions, in `submission.json` for the evaluation server, some in
    `answers.png`; accuracy where annotators' answers are known, and `best_by_type` where there are
    training questions too.

    Raises:
        UserError: the accuracy on the validation questions is below `min_validation`; it is known
            before the test questions are answered.
    """
    backbone = model.config.backbone
    tokenizer = TextTokenizer.load_for(folders.text_tokenizer, backbone.vocab_size)
    size = backbone.image_size

    def answered(
        split: str, limit: int | None = None, *, shuffled: bool = False
    ) -> list[Prediction]:
        name = f"{split} shuffled" if shuffled else split
        count = parquet.num_samples(folders.shards, split)
        run = maps(name, min(count, limit or count))
        shown = islice(questions(folders.shards, split, size, shuffled=shuffled), limit)
        return list(predict(model, shown, tokenizer, inputs.text_length, params.batch, run))

    validation = mean_accuracy(answered("val", params.validation_questions))
    check_validation(validation, params.min_validation)
    predictions = answered(params.split)
    write_submission(predictions, out / "submission.json")
    examples = visualize.choose(predictions)
    visualize.draw(examples, questions(folders.shards, params.split, size), out / "answers.png")
    scored = _with_answers(predictions)
    result: dict[str, Any] = {
        "questions": len(predictions),
        "scored": len(scored),
        "answers": len(model.config.answers),
        "accuracy": None,
        **dict.fromkeys((*HALVES, *COMPARISONS)),
        "validation": validation,
    }
    if scored:
        shuffled = answered(params.split, shuffled=True)
        result |= _scores(scored, _with_answers(shuffled))
        result |= _baselines(model, _questions(scored))
        if parquet.has_split(folders.shards, "train"):
            result["best_by_type"] = _by_type_baseline(model, _questions(scored), folders.shards)
    for half in HALVES:
        server = params.server(half)
        if server is not None:
            result[half] = server
    return result


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line; `score` is the test accuracy, or else the
    validation's."""
    known = {name: result[name] for name in ("accuracy", *HALVES) if result[name] is not None}
    return {**known, "score": known.get("accuracy", result["validation"])}


def check_validation(accuracy: float, least: float) -> None:
    """Raises UserError where the accuracy of a model on validation questions, a share in 0..1, is
    below what it has to be."""
    if accuracy < least:
        raise UserError(
            f"accuracy on the validation questions: {accuracy:.1%}, which should be at least "
            f"{least:.1%} (min_validation): the model's answers are in the wrong order, or its "
            "tokenizer is another one; import the model again from its own files"
        )


def _with_answers(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Those whose questions have annotators' answers."""
    return [prediction for prediction in predictions if prediction.question.answers]


def _questions(predictions: Sequence[Prediction]) -> list[Question]:
    return [prediction.question for prediction in predictions]


def _answers(predictions: Sequence[Prediction]) -> list[str]:
    return [prediction.answer for prediction in predictions]


def _scores(scored: Sequence[Prediction], shuffled: Sequence[Prediction]) -> dict[str, Any]:
    """Accuracy of the answers, also of those to the same questions about shuffled images."""
    asked = _questions(scored)
    return {
        **mean_accuracies(asked, _answers(scored)),
        "standard_error": standard_error(scored),
        **by_type(scored),
        "shuffled_images": mean_accuracies(asked, _answers(shuffled)),
    }


def _baselines(model: VQA, asked: Sequence[Question]) -> dict[str, dict[str, float]]:
    """Accuracy without a look at the images, of an answer at random and of the first one."""
    most_frequent = model.config.answers[0]
    classes = class_indices(model.config.answers)
    guesses = [float(soft_targets(question.answers, classes).mean()) for question in asked]
    return {
        "chance": {"accuracy": fmean(guesses)},
        "most_frequent": mean_accuracies(asked, [most_frequent] * len(asked)),
    }


def _by_type_baseline(model: VQA, asked: Sequence[Question], folder: Path) -> dict[str, float]:
    """Accuracy without a look at the images, from the labeled questions' answers by type."""
    most_frequent, best_answers = model.config.answers[0], best_by_type(folder)
    answers = [best_answers.get(question_type(one.text), most_frequent) for one in asked]
    return mean_accuracies(asked, answers)


def best_by_type(folder: Path) -> dict[str, str]:
    """The most frequent best answer of the labeled questions of each type."""
    answers_of_type: dict[str, list[str]] = {}
    for question, answers in labeled_questions(folder):
        answers_of_type.setdefault(question_type(question), []).append(answers[0])
    return {kind: vocabulary(best, 1)[0] for kind, best in answers_of_type.items()}


def in_test_dev(question: int) -> bool:
    """Whether a test question belongs to our own half for `test_dev`, by the parity of a hash of
    its id; the other half is `test_std`. The real halves are known to the evaluation server
    alone."""
    return seeds.key("vqa half of the test questions", question) % 2 == 0


def mean_accuracies(asked: Sequence[Question], answers: Sequence[str]) -> dict[str, float]:
    """Accuracy of an answer to each question: of all questions, and of both halves. All questions
    have annotators' answers."""
    values: dict[str, list[float]] = {"accuracy": [], "test_dev": [], "test_std": []}
    for question, answer in zip(asked, answers, strict=True):
        value = accuracy(answer, question.answers)
        values["accuracy"].append(value)
        values["test_dev" if in_test_dev(question.id) else "test_std"].append(value)
    return {name: fmean(each) for name, each in values.items() if each}


def by_type(predictions: Sequence[Prediction]) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy and number of questions of each answer type and of each question type."""
    return {
        "answer_types": _grouped(predictions, lambda question: answer_type(question.answers[0])),
        "question_types": _grouped(predictions, lambda question: question_type(question.text)),
    }


def _grouped(
    predictions: Sequence[Prediction], type_of: Callable[[Question], str]
) -> dict[str, dict[str, float]]:
    groups: dict[str, list[float]] = {}
    for prediction in predictions:
        groups.setdefault(type_of(prediction.question), []).append(prediction.accuracy)
    result: dict[str, dict[str, float]] = {}
    for name, values in groups.items():
        result[name] = {"accuracy": fmean(values), "questions": len(values)}
    return result


def standard_error(predictions: Sequence[Prediction]) -> float:
    """Of the mean accuracy; questions about one image are not independent, so images are what is
    counted."""
    mean = mean_accuracy(predictions)
    sums: dict[str, float] = {}
    for prediction in predictions:
        key = prediction.question.image_key
        sums[key] = sums.get(key, 0.0) + prediction.accuracy - mean
    return sum(value**2 for value in sums.values()) ** 0.5 / len(predictions)


def write_submission(predictions: Sequence[Prediction], path: Path) -> None:
    """The file for the evaluation server: every question once.

    Raises:
        UserError: a question occurs twice.
    """
    answers = {prediction.question.id: prediction.answer for prediction in predictions}
    if len(answers) < len(predictions):
        raise UserError(
            f"{path.name}: a test question occurs twice in the shards; run the shard stage again"
        )
    lines = [{"question_id": number, "answer": answers[number]} for number in sorted(answers)]
    files.write_json(path, lines)
