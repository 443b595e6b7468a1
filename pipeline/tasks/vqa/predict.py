"""What a model answers, and how good that is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

import numpy as np
import torch

from model.heads.vqa import VQA
from pipeline.data.datasets.vqa_question_types import answer_type, question_type
from pipeline.data.transforms import images
from pipeline.tasks.image_text_inputs import pad
from pipeline.tasks.vqa.data import Asked, Shown
from pipeline.tasks.vqa.metrics import accuracy
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import seeds

TOP = 3


@dataclass(frozen=True)
class Prediction:
    """A question, the model's best answers with their probabilities, and the first one's official
    accuracy."""

    asked: Asked
    best: tuple[tuple[str, float], ...]
    accuracy: float | None  # where there are answers

    @property
    def answer(self) -> str:
        """The answer that counts."""
        return self.best[0][0]


@torch.inference_mode()
def predict(
    model: VQA, shown: Iterable[Shown], tokenizer: TextTokenizer, text_length: int, batch: int
) -> Iterator[Prediction]:
    """The model's answers, in the order of the questions."""
    device = next(model.parameters()).device
    shown = iter(shown)
    while chunk := list(islice(shown, batch)):
        ids, mask = pad([tokenizer.encode(asked.text, text_length) for asked, _ in chunk])
        pixels = torch.from_numpy(np.stack([picture for _, picture in chunk]))
        logits = model(images.normalize(pixels.to(device)), ids.to(device), mask.to(device))
        top = logits.sigmoid().topk(min(TOP, logits.shape[1]), dim=1)
        for (asked, _), values, classes in zip(
            chunk, top.values.tolist(), top.indices.tolist(), strict=True
        ):
            best = tuple(
                (model.config.answers[place], value)
                for place, value in zip(classes, values, strict=True)
            )
            yield Prediction(
                asked, best, accuracy(best[0][0], asked.answers) if asked.answers else None
            )


def in_test_dev(question: int) -> bool:
    """Whether a test question belongs to our own half for `test_dev`, by the parity of a hash of
    its id; the other half is `test_std`. The real halves are known to the evaluation server
    alone."""
    return seeds.key("vqa half of the test questions", question) % 2 == 0


def shares(asked: Sequence[Asked], answer: Callable[[int], str]) -> dict[str, float]:
    """Accuracy of `answer(i)` for question i: of all questions, and of both halves. All questions
    have answers."""
    right = [accuracy(answer(place), question.answers) for place, question in enumerate(asked)]
    halves = {
        name: [
            value
            for value, question in zip(right, asked, strict=True)
            if in_test_dev(question.id) == dev
        ]
        for name, dev in (("test_dev", True), ("test_std", False))
    }
    return {
        "accuracy": fmean(right),
        **{name: fmean(values) for name, values in halves.items() if values},
    }


def by_kind(predictions: Sequence[Prediction]) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy and number of questions of each answer type and of each question type."""
    kinds = {
        "answer_types": lambda asked: answer_type(asked.answers[0]),
        "question_types": lambda asked: question_type(asked.text),
    }
    result = {}
    for name, kind in kinds.items():
        groups: dict[str, list[float]] = {}
        for prediction in predictions:
            groups.setdefault(kind(prediction.asked), []).append(prediction.accuracy)
        result[name] = {
            key: {"accuracy": fmean(values), "questions": len(values)}
            for key, values in groups.items()
        }
    return result


def standard_error(predictions: Sequence[Prediction]) -> float:
    """Of the mean accuracy; questions about one picture are not independent, so pictures are what
    is counted."""
    mean = fmean(prediction.accuracy for prediction in predictions)
    sums: dict[str, float] = {}
    for prediction in predictions:
        key = prediction.asked.picture
        sums[key] = sums.get(key, 0.0) + prediction.accuracy - mean
    return sum(value**2 for value in sums.values()) ** 0.5 / len(predictions)
