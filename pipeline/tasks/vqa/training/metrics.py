"""What a model answers, and the official accuracy of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from statistics import fmean

import torch
from torch import Tensor

from model.heads.vqa import VQA
from pipeline.data.transforms import images
from pipeline.tasks.batch_results import BatchMap, directly
from pipeline.tasks.image_text_inputs import pad, stack
from pipeline.tasks.ranking import best_first
from pipeline.tasks.vqa.training.answers import accuracy
from pipeline.tasks.vqa.training.data import Question, ShownQuestion
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import finite

TOP_K = 3


@dataclass(frozen=True)
class Prediction:
    """A question, and the model's best answers with their probabilities."""

    question: Question
    best: tuple[tuple[str, float], ...]

    @property
    def answer(self) -> str:
        """The answer that counts."""
        return self.best[0][0]

    @cached_property
    def accuracy(self) -> float:
        """The official accuracy of that answer; only where there are annotators' answers."""
        return accuracy(self.answer, self.question.answers)


@torch.inference_mode()
def predict(
    model: VQA,
    shown: Iterable[ShownQuestion],
    tokenizer: TextTokenizer,
    text_length: int,
    batch: int,
    run: BatchMap = directly,
) -> Iterator[Prediction]:
    """The model's answers, in the order of the questions.

    Raises:
        NonFiniteError: a logit is NaN or infinite.
    """
    device = next(model.parameters()).device

    def answer(chunk: Sequence[ShownQuestion]) -> tuple[Tensor, Tensor]:
        ids, mask = pad([tokenizer.encode(one.question.text, text_length) for one in chunk])
        pixels = images.normalize(stack([one.image for one in chunk]).to(device))
        logits = model(pixels, ids.to(device), mask.to(device))
        best = best_first(finite.checked(logits, "logits of the answers"), TOP_K)
        return best.cpu(), logits.sigmoid().gather(1, best).cpu()

    for chunk, (best, probabilities) in run(answer, _chunks(shown, batch)):
        outputs = zip(chunk, best.tolist(), probabilities.tolist(), strict=True)
        for one, classes, values in outputs:
            answers = [model.config.answers[index] for index in classes]
            yield Prediction(one.question, tuple(zip(answers, values, strict=True)))


def _chunks(shown: Iterable[ShownQuestion], size: int) -> Iterator[list[ShownQuestion]]:
    remaining = iter(shown)
    while chunk := list(islice(remaining, size)):
        yield chunk


def mean_accuracy(predictions: Iterable[Prediction]) -> float:
    """In 0..1; all questions have annotators' answers."""
    return fmean(prediction.accuracy for prediction in predictions)
