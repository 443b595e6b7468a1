"""Questions about images: augmented and in random order for training, as they are and in order for
evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from pipeline.data.loading.row_reader import RowReader
from pipeline.data.loading.sampler import MicroBatch, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.tasks.image_text_inputs import ImageTextInputs, ImageTextParams, augmented, pad, stack
from pipeline.tasks.vqa.training.answers import soft_targets, vocabulary
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import seeds

COLUMNS = ("image", "questions", "answers")
# Together the official train2014 and val2014, from which the answers are counted (ViLT).
LABELED_SPLITS = ("train", "val")

EvaluationInputs = ImageTextInputs
InputParams = ImageTextParams


class QuestionBatch(NamedTuple):
    """Questions about augmented images."""

    pixels: Tensor  # uint8 [n, size, size, 3]
    ids: Tensor  # int64 [n, length]
    mask: Tensor  # bool [n, length], True for tokens
    targets: Tensor  # float32 [n, answers] in 0..1
    drop_path_noise: Tensor  # float32 [n, depth, 3] in [0, 1)


class Sample(NamedTuple):
    """One row of a `QuestionBatch`."""

    pixels: np.ndarray  # uint8 [size, size, 3]
    ids: np.ndarray  # [length]
    targets: np.ndarray  # float32 [answers]
    drop_path_noise: np.ndarray  # float32 [depth, 3]


class QuestionBatches:
    """Map-style data set: the address of a micro-batch to its samples."""

    def __init__(
        self,
        folder: Path,
        tokenizer: TextTokenizer,
        answers: Sequence[str],
        params: InputParams,
        depth: int,
        seed: int,
    ):
        self.tokenizer, self.params, self.depth, self.seed = tokenizer, params, depth, seed
        self.classes = class_indices(answers)
        cache = 2 * params.order.streams * params.order.shuffle_block
        self.rows = RowReader(
            parquet.row_groups(folder, "train"), cache, COLUMNS, list_column="questions"
        )
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "questions")

    def __getitem__(self, micro_batch: MicroBatch) -> QuestionBatch:
        return collate([self._sample(index) for index in self.order.samples(micro_batch)])

    def _sample(self, index: SampleIndex) -> Sample:
        rng = seeds.generator(self.seed, "question", index.position)
        row, number = self.rows.get(index.group, index.offset)
        image = images.decode(row["image"])
        return Sample(
            augmented(image, "question", self.seed, index.position, self.params, rng),
            self.tokenizer.encode(row["questions"][number], self.params.text_length),
            soft_targets(row["answers"][number], self.classes),
            rng.random((self.depth, DROP_PATH_BRANCHES), dtype=np.float32),
        )


def collate(samples: list[Sample]) -> QuestionBatch:
    """Stack samples; questions are padded to the longest."""
    pixels, texts, targets, noise = zip(*samples, strict=True)
    return QuestionBatch(stack(pixels), *pad(texts), stack(targets), stack(noise))


def class_indices(answers: Sequence[str]) -> dict[str, int]:
    """The class of each answer."""
    return {answer: index for index, answer in enumerate(answers)}


def frequent_answers(folder: Path, min_count: int) -> tuple[str, ...]:
    """The classes: best answers of at least `min_count` labeled questions, the most frequent
    first."""
    classes = vocabulary((answers[0] for _, answers in labeled_questions(folder)), min_count)
    if not classes:
        raise UserError(f"{folder}: no answer occurs {min_count} times; lower min_answer_count")
    return classes


def answer_frequencies(folder: Path, answers: Sequence[str]) -> np.ndarray:
    """The mean target of each class over the labeled questions, float32 [answers] in 0..1
    (exclusive)."""
    classes = class_indices(answers)
    total, count = np.zeros(len(classes)), 1  # one more, without an answer: no mean is 1
    for _, annotated in labeled_questions(folder):
        total += soft_targets(annotated, classes)
        count += 1
    return (total / count).astype(np.float32)


def labeled_questions(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """All questions that may be learned from, each with its answers, the best one first."""
    for split in LABELED_SPLITS:
        for row in parquet.read_rows(folder, split, ("questions", "answers")):
            yield from zip(row["questions"], row["answers"], strict=True)


@dataclass(frozen=True)
class Question:
    """A question of a split."""

    id: int
    text: str
    # the annotators', the most frequent first; none where they are not published
    answers: tuple[str, ...]
    image_key: str  # of the image it is about


class ShownQuestion(NamedTuple):
    """A question, and the image that it is asked with."""

    question: Question
    image: np.ndarray  # uint8 [size, size, 3]


def questions(
    folder: Path, split: str, size: int, *, shuffled: bool = False
) -> Iterator[ShownQuestion]:
    """All questions of a split in order, with their own images, or if `shuffled` each with that of
    the row before.

    Rows are in the order of a hash, so the image before is anybody's. The first row has the last
    row's.
    """
    previous = _last_image(folder, split, size) if shuffled else None
    for row in parquet.read_rows(folder, split, ("key", "image", "ids", "questions", "answers")):
        image = images.square(images.decode(row["image"]), size)
        shown = image if previous is None else previous
        if shuffled:
            previous = image
        for number, text, answers in zip(row["ids"], row["questions"], row["answers"], strict=True):
            yield ShownQuestion(Question(number, text, tuple(answers), row["key"]), shown)


def _last_image(folder: Path, split: str, size: int) -> np.ndarray:
    """The image of a split's last row, uint8 [size, size, 3]."""
    column = parquet.read_group(parquet.row_groups(folder, split)[-1], ("image",))["image"]
    return images.square(images.decode(column[-1].as_py()), size)
