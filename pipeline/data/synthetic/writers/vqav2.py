"""VQA 2.0: the zips of COCO's train2014, val2014 and test2015, and of questions and answers about
their images.

Unlike the real ones, the answers to the test questions are included, in a file like the other two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.synthetic import archives, captioned_images, injected_faults
from pipeline.data.synthetic.language import questions
from pipeline.data.synthetic.language.questions import AnsweredQuestion
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render
from pipeline.data.synthetic.scenes.scene import Scene
from pipeline.utils import seeds

# Year and name in the official files, by part. Only `test` has combinations of attributes of its
# own, because most of val2014 is trained on.
_PARTS = {
    "train": ("train2014", "Train"),
    "restval": ("val2014", "Val"),
    "test": ("test2015", "Test"),
}
_QUESTIONS = (4, 7)  # fewest and most of an image
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
class _ImageWithQuestions:
    """An image with its questions. faulty_index: its index among the images that may have injected
    faults, -1 outside the training part."""

    image_id: int
    scene: Scene
    questions: list[AnsweredQuestion]
    faulty_index: int


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    for part, (year, name) in _PARTS.items():
        indices = range(params.count("vqav2", part))
        images = [image_with_questions(params, part, index) for index in indices]
        archives.write_zip(folder / f"{year}.zip", _images(images, year, params))
        contents = {f"v2_OpenEnded_mscoco_{year}_questions.json": _questions(images, year)}
        if part == "test":
            member = "v2_OpenEnded_mscoco_test-dev2015_questions.json"
            contents[member] = _questions(images[::4], "test-dev2015")
        _write_json(folder / f"v2_Questions_{name}_mscoco.zip", contents)
        _write_annotations(folder, part, images)


def write_annotations(folder: Path, params: SyntheticParams) -> None:
    """Write the annotations of train2014 and val2014 alone."""
    for part in ("train", "restval"):
        indices = range(params.count("vqav2", part))
        images = [image_with_questions(params, part, index) for index in indices]
        _write_annotations(folder, part, images)


def image_id(part: str, index: int) -> int:
    """The number of an image, unique over all parts."""
    return 17 + list(_PARTS).index(part) + 3 * index


def image_with_questions(params: SyntheticParams, part: str, index: int) -> _ImageWithQuestions:
    """Image number `index` of a part, with its questions and their answers."""
    rng = seeds.generator(params.seed, "questions", part, index)
    scene = captioned_images.scene_at(params, "vqav2", part, index)
    number = int(rng.integers(*_QUESTIONS, endpoint=True))
    asked = questions.ask(scene, number, rng, params.world)
    faulty_index = index if part == "train" else -1
    return _ImageWithQuestions(image_id(part, index), scene, asked, faulty_index)


def _write_json(path: Path, contents: dict[str, dict[str, Any]]) -> None:
    """Write a zip of JSON files."""
    members = [(name, archives.json_bytes(content)) for name, content in contents.items()]
    archives.write_zip(path, members)


def _write_annotations(folder: Path, part: str, images: list[_ImageWithQuestions]) -> None:
    year, name = _PARTS[part]
    contents = {f"v2_mscoco_{year}_annotations.json": _annotations(images, year)}
    _write_json(folder / f"v2_Annotations_{name}_mscoco.zip", contents)


def _images(
    images: list[_ImageWithQuestions], year: str, params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    for image in images:
        jpeg = render.jpeg(image.scene, params.jpeg_quality)
        if image.faulty_index == injected_faults.TRUNCATED:
            jpeg = injected_faults.truncated(jpeg)
        if image.faulty_index != injected_faults.MISSING:
            yield f"{year}/COCO_{year}_{image.image_id:012d}.jpg", jpeg


def _questions(images: list[_ImageWithQuestions], year: str) -> dict[str, Any]:
    entries = []
    for image in images:
        for number, question in enumerate(image.questions):
            entries.append(
                {
                    "image_id": image.image_id,
                    "question": question.text,
                    "question_id": 1000 * image.image_id + number,
                }
            )
    return {**_ENVELOPE, "task_type": "Open-Ended", "data_subtype": year, "questions": entries}


def _annotations(images: list[_ImageWithQuestions], year: str) -> dict[str, Any]:
    """The answers; one training question has none."""
    entries = []
    for image in images:
        for number, question in enumerate(image.questions):
            if (image.faulty_index, number) != (injected_faults.NO_CAPTION, 0):
                entries.append(_annotation(image.image_id, number, question))
    return {**_ENVELOPE, "data_subtype": year, "annotations": entries}


def _annotation(image_id: int, number: int, question: AnsweredQuestion) -> dict[str, Any]:
    answers = []
    for answer_id, (text, confidence) in enumerate(question.answers, 1):
        answers.append({"answer": text, "answer_confidence": confidence, "answer_id": answer_id})
    return {
        "question_type": question.question_type,
        "multiple_choice_answer": question.best,
        "answers": answers,
        "image_id": image_id,
        "answer_type": question.answer_type,
        "question_id": 1000 * image_id + number,
    }
