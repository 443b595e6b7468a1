"""Questions about pictures: augmented and in random order for training, as they are and in order
for evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from pipeline.data.datasets.vqa_question_types import question_type
from pipeline.data.loading.row_reader import RowReader
from pipeline.data.loading.sampler import MicroBatch, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.tasks.image_text_inputs import PairParams, augmented, pad
from pipeline.tasks.vqa.metrics import soft_targets, vocabulary
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import seeds

LABELLED = (
    "train",
    "val",
)  # together the official train2014 and val2014, from which the answers are counted (ViLT)


class QuestionBatches:
    """Map-style data set: a part of a step to its rows of the global batch."""

    def __init__(
        self,
        folder: Path,
        tokenizer: TextTokenizer,
        answers: Sequence[str],
        params: PairParams,
        depth: int,
        seed: int,
    ):
        self.tokenizer, self.params, self.depth, self.seed = tokenizer, params, depth, seed
        self.classes = {answer: place for place, answer in enumerate(answers)}
        self.rows = RowReader(
            parquet.row_groups(folder, "train"),
            2 * params.order.streams * params.order.shuffle_block,
            ("image", "questions", "answers"),
            list_column="questions",
        )
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "questions")

    def __getitem__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        return collate([self._sample(index) for index in self.order.samples(micro_batch)])

    def _sample(self, index: SampleIndex) -> dict[str, Any]:
        rng = seeds.generator(self.seed, "question", index.position)
        row, place = self.rows.get(index.group, index.offset)
        picture = images.decode(row["image"])
        return {
            "pixels": augmented(picture, "question", self.seed, index.position, self.params, rng),
            "ids": self.tokenizer.encode(row["questions"][place], self.params.text_length),
            "targets": soft_targets(row["answers"][place], self.classes),
            "drop_path_noise": rng.random((self.depth, DROP_PATH_BRANCHES), dtype=np.float32),
        }


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack samples; questions are padded to the longest."""
    ids, mask = pad([sample["ids"] for sample in samples])
    stacked = {
        name: torch.from_numpy(np.stack([sample[name] for sample in samples]))
        for name in ("pixels", "targets", "drop_path_noise")
    }
    return {**stacked, "ids": ids, "mask": mask}


def frequent_answers(folder: Path, least: int) -> tuple[str, ...]:
    """The classes: best answers of at least `least` labelled questions, the most frequent first."""
    classes = vocabulary((answers[0] for _, answers in labelled(folder)), least)
    if not classes:
        raise UserError(f"{folder}: no answer occurs {least} times; lower min_answer_count")
    return classes


def answer_shares(folder: Path, answers: Sequence[str]) -> np.ndarray:
    """The mean target of each class over the labelled questions, float32 [answers] in 0..1
    (exclusive)."""
    classes = {answer: place for place, answer in enumerate(answers)}
    total, count = np.zeros(len(classes)), 1  # one more, without an answer: no share is 1
    for _, given in labelled(folder):
        total += soft_targets(given, classes)
        count += 1
    return (total / count).astype(np.float32)


def best_by_type(folder: Path) -> dict[str, str]:
    """The most frequent best answer of the labelled questions of each type."""
    found: dict[str, list[str]] = {}
    for question, answers in labelled(folder):
        found.setdefault(question_type(question), []).append(answers[0])
    return {kind: vocabulary(best, 1)[0] for kind, best in found.items()}


def labelled(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """All questions that may be learnt from, each with its answers, the best one first."""
    for split in LABELLED:
        for row in parquet.read_rows(folder, split, ("questions", "answers")):
            yield from zip(row["questions"], row["answers"], strict=True)


@dataclass(frozen=True)
class Asked:
    """A question of a split."""

    id: int
    text: str
    answers: tuple[
        str, ...
    ]  # the annotators', the most frequent first; none where they are not published
    picture: str  # key of the picture it is about


Shown = tuple[
    Asked, np.ndarray
]  # a question and the picture that is shown for it, uint8 [size, size, 3]


def questions(folder: Path, split: str, size: int, *, swapped: bool = False) -> Iterator[Shown]:
    """All questions of a split in order, with their own pictures, or each with that of the row
    before if `swapped`.

    Rows are in the order of a hash, so the picture before is anybody's. The first row has the last
    row's.
    """
    before = _last_picture(folder, split, size) if swapped else None
    for row in parquet.read_rows(folder, split, ("key", "image", "ids", "questions", "answers")):
        own = images.square(images.decode(row["image"]), size)
        shown, before = before if swapped else own, own
        for number, text, answers in zip(row["ids"], row["questions"], row["answers"], strict=True):
            yield Asked(number, text, tuple(answers), row["key"]), shown


def _last_picture(folder: Path, split: str, size: int) -> np.ndarray:
    group = parquet.row_groups(folder, split)[-1]
    return images.square(
        images.decode(parquet.read_group(group, ("image",))["image"][-1].as_py()), size
    )
