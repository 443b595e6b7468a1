"""The answers that released models choose from, in the order of their classes.

VLMo, BEiT-3 and ViLT share it, and none of them has a file of it: it follows from the official
annotations. Another order, such as that of shards, would cost all accuracy without an error.
"""

from pathlib import Path

from pipeline.data.datasets import vqav2
from pipeline.errors import UserError
from pipeline.tasks.vqa.training.answers import vocabulary_by_occurrence

NUM_ANSWERS = 3129  # of the official annotations
MIN_COUNT = 9  # questions with this best answer


def read(folder: Path, num_answers: int = NUM_ANSWERS) -> tuple[str, ...]:
    """The answers, normalized, from the annotations of train2014 and val2014 in `folder`, the
    official files of VQA 2.0. One may be empty. Takes a minute, and memory for no more than the
    different answers.

    Raises:
        UserError: an annotation file is missing or damaged, or there are not `num_answers` answers,
            the classes of the model.
    """
    answers = vocabulary_by_occurrence(vqav2.best_answers(folder), MIN_COUNT)
    if len(answers) != num_answers:
        raise UserError(
            f"{folder}: {len(answers):,} answers occur {MIN_COUNT} times in train2014 and val2014, "
            f"but the model has classes for {num_answers:,}; it needs the annotations that it was "
            "trained on"
        )
    return answers
