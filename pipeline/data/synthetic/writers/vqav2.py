"""VQA 2.0: the zips of COCO's train2014, val2014 and test2015, and of questions and answers about
their pictures.

Unlike the real ones, the answers to the test questions are there too, in a file like the other two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.synthetic import archives, captioned_images, injected_faults
from pipeline.data.synthetic.language import questions
from pipeline.data.synthetic.language.questions import Answered
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render
from pipeline.data.synthetic.scenes.scene import Scene
from pipeline.utils import seeds

# The world's parts: combinations of attributes are held out in `test` alone, for most of val2014 is
# trained on.
_PARTS = {
    "train": ("train2014", "Train"),
    "restval": ("val2014", "Val"),
    "test": ("test2015", "Test"),
}
_QUESTIONS = (4, 7)  # of a picture
_ENVELOPE: dict[str, Any] = {
    "info": {
        "description": "A generated world in the format of VQA v2.0",
        "url": "http://visualqa.org",
        "version": "2.0",
        "year": 2017,
        "contributor": "pipeline.data.synthetic",
        "date_created": "2017-04-26 17:07:13",
    },
    "license": {
        "url": "http://creativecommons.org/licenses/by/4.0/",
        "name": "Creative Commons Attribution 4.0 International License",
    },
    "data_type": "mscoco",
}


@dataclass(frozen=True)
class _Asked:
    """A picture with its questions. damaged: its place among the faults on purpose, -1 in the other
    parts."""

    image: int
    scene: Scene
    questions: list[Answered]
    damaged: int


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    for part, (year, name) in _PARTS.items():
        asked = [_asked(params, part, index) for index in range(params.count("vqav2", part))]
        archives.write_zip(folder / f"{year}.zip", _pictures(asked, year, params))
        parts = {f"v2_OpenEnded_mscoco_{year}_questions.json": _questions(asked, year)}
        if part == "test":
            parts["v2_OpenEnded_mscoco_test-dev2015_questions.json"] = _questions(
                asked[::4], "test-dev2015"
            )
        archives.write_zip(
            folder / f"v2_Questions_{name}_mscoco.zip",
            [(member, archives.json_bytes(content)) for member, content in parts.items()],
        )
        archives.write_zip(
            folder / f"v2_Annotations_{name}_mscoco.zip",
            [
                (
                    f"v2_mscoco_{year}_annotations.json",
                    archives.json_bytes(_annotations(asked, year)),
                )
            ],
        )


def image_id(part: str, index: int) -> int:
    """The number of a picture, unique over all parts."""
    return 17 + list(_PARTS).index(part) + 3 * index


def _asked(params: SyntheticParams, part: str, index: int) -> _Asked:
    rng = seeds.generator(params.seed, "questions", part, index)
    scene = captioned_images.scene_at(params, "vqav2", part, index)
    found = questions.ask(scene, int(rng.integers(*_QUESTIONS, endpoint=True)), rng)
    return _Asked(image_id(part, index), scene, found, index if part == "train" else -1)


def _pictures(
    asked: list[_Asked], year: str, params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    for entry in asked:
        data = render.jpeg(entry.scene, params.jpeg_quality)
        if entry.damaged != injected_faults.MISSING:
            yield (
                f"{year}/COCO_{year}_{entry.image:012d}.jpg",
                injected_faults.truncated(data)
                if entry.damaged == injected_faults.TRUNCATED
                else data,
            )


def _questions(asked: list[_Asked], year: str) -> dict[str, Any]:
    items = [
        {
            "image_id": entry.image,
            "question": question.text,
            "question_id": 1000 * entry.image + number,
        }
        for entry in asked
        for number, question in enumerate(entry.questions)
    ]
    return {**_ENVELOPE, "task_type": "Open-Ended", "data_subtype": year, "questions": items}


def _annotations(asked: list[_Asked], year: str) -> dict[str, Any]:
    """One training question is without its annotation."""
    items = [
        _annotation(entry.image, number, question)
        for entry in asked
        for number, question in enumerate(entry.questions)
        if (entry.damaged, number) != (injected_faults.NO_CAPTION, 0)
    ]
    return {**_ENVELOPE, "data_subtype": year, "annotations": items}


def _annotation(image: int, number: int, question: Answered) -> dict[str, Any]:
    answers = [
        {"answer": text, "answer_confidence": sure, "answer_id": place}
        for place, (text, sure) in enumerate(question.answers, 1)
    ]
    return {
        "question_type": question.question_type,
        "multiple_choice_answer": question.best,
        "answers": answers,
        "image_id": image,
        "answer_type": question.answer_type,
        "question_id": 1000 * image + number,
    }
