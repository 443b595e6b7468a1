"""VQA 2.0: questions about COCO's pictures, each with the answers of ten people.

Pictures are in COCO's zips, or in the folders that these unpack to. `train` is train2014 with
val2014, except for the pictures of val2014 that are held out as `val` (ViLT); `test` is test2015.
The answers to the test questions are not published: they are read where a file like the other two
has them.
"""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.datasets.formats import json_stream
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import Question, QuestionsRecord, Rejected, Split, fault, tidy
from pipeline.errors import UserError
from pipeline.utils import seeds

KIND = "questions"
ANSWERS = 10  # of each question
_PARTS = {"train2014": "Train", "val2014": "Val", "test2015": "Test"}
_HELD_OUT = 1000  # pictures of val2014 (ViLT), and never more than half of them

Answers = dict[int, tuple[int, tuple[str, ...]]]  # question id to picture id and answers


@dataclass(frozen=True)
class _Entry:
    key: str
    split: Split
    part: str
    questions: tuple[Question, ...]
    size: int


def files(root: Path) -> list[Path]:
    """Pictures, questions and answers."""
    found: list[Path] = []
    for part, name in _PARTS.items():
        place = json_stream.pick(root, f"{part}.zip", part)
        found += sorted(place.iterdir()) if place.is_dir() else [place]
        found.append(json_stream.pick(root, f"v2_Questions_{name}_mscoco.zip"))
        if part != "test2015" or _annotations(root, part).exists():
            found.append(json_stream.pick(root, _annotations(root, part).name))
    return found


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """Pictures with all their questions, in the order of the question files; the key is COCO's file
    name.

    The answers of a question start with the most frequent one, the annotations'
    `multiple_choice_answer`. The questions and answers of one part are in memory together: a
    quarter of a gigabyte.

    Raises:
        UserError: a file is damaged or not of the official format.
    """
    for part in _PARTS:
        asked = yield from _questions(root, part)
        held_out = _held_out(asked) if part == "val2014" else frozenset()
        with _tree(root, part) as tree:
            for image, questions in asked.items():
                split = "test" if part == "test2015" else "val" if image in held_out else "train"
                key = _key(part, image)
                yield _Entry(key, split, part, tuple(questions), tree.size(f"{key}.jpg"))


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[QuestionsRecord | Rejected]]]:
    """Pictures with their questions."""
    with ExitStack() as stack:
        trees = {part: stack.enter_context(_tree(root, part)) for part in _PARTS}

        def read(entry: _Entry) -> Iterator[QuestionsRecord | Rejected]:
            try:
                image = trees[entry.part].read(f"{entry.key}.jpg")
            except BadMember as error:
                yield from (
                    Rejected(f"{entry.key}#{question.id}", str(error))
                    for question in entry.questions
                )
            else:
                yield QuestionsRecord(entry.key, entry.split, image, entry.questions)

        yield read


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Questions of each file, and of those that we read, the ones that lack answers or a
    picture."""
    found = {
        name: sum(
            1
            for _ in _items(
                root / f"v2_Questions_{archive}_mscoco.zip",
                f"v2_OpenEnded_mscoco_{part}_questions.json",
                "questions",
                _asked,
            )
        )
        for name, archive, part in (
            ("train questions", "Train", "train2014"),
            ("val questions", "Val", "val2014"),
            ("test questions", "Test", "test2015"),
            ("test-dev questions", "Test", "test-dev2015"),
        )
    }
    return found | {
        "questions without ten answers": sharded.rejected("wrong answers", "no annotation"),
        "missing images": sharded.rejected("missing image"),
    }


def _key(part: str, image: int) -> str:
    return f"COCO_{part}_{image:012d}"


def _annotations(root: Path, part: str) -> Path:
    return root / f"v2_Annotations_{_PARTS[part]}_mscoco.zip"


def _held_out(pictures: dict[int, list[Question]]) -> frozenset[int]:
    """1,000 of the pictures by a hash of their ids, or half of them where they are few."""
    order = sorted(pictures, key=lambda image: seeds.key("vqav2 held out", image))
    return frozenset(order[: min(_HELD_OUT, len(order) // 2)])


def _questions(root: Path, part: str) -> Generator[Rejected, None, dict[int, list[Question]]]:
    """Yields what is rejected; returns the usable questions of each picture."""
    known = (
        (yield from _answers(root, part))
        if _annotations(root, part).exists() or part != "test2015"
        else None
    )
    asked: dict[int, list[Question]] = {}
    seen: set[int] = set()
    path = root / f"v2_Questions_{_PARTS[part]}_mscoco.zip"
    for number, image, text in _items(
        path, f"v2_OpenEnded_mscoco_{part}_questions.json", "questions", _asked
    ):
        place, answers = (image, ()) if known is None else known.pop(number, (image, None))
        reason = (
            "duplicate question"
            if number in seen
            else f"{fault(text)} question"
            if fault(text)
            else "no annotation"
            if answers is None
            else "annotation of another picture"
            if place != image
            else ""
        )
        if reason:
            yield Rejected(f"{_key(part, image)}#{number}", reason)
        else:
            asked.setdefault(image, []).append(Question(number, text, answers))
        seen.add(number)
    for number, (image, _) in (known or {}).items():
        yield Rejected(f"{_key(part, image)}#{number}", "annotation without question")
    return asked


def _answers(root: Path, part: str) -> Generator[Rejected, None, Answers]:
    """Yields what is rejected; returns the usable answers."""
    known: Answers = {}
    for number, image, first, answers in _items(
        _annotations(root, part), f"v2_mscoco_{part}_annotations.json", "annotations", _answered
    ):
        if len(answers) != ANSWERS or first not in answers:
            wrong = f"expected {ANSWERS} answers, {first!r} among them, found {len(answers)}"
            yield Rejected(f"{_key(part, image)}#{number}", f"wrong answers: {wrong}")
            continue
        answers.remove(first)
        known[number] = image, (first, *answers)
    return known


def _asked(item: dict[str, Any]) -> tuple[int, int, str]:
    return int(item["question_id"]), int(item["image_id"]), tidy(item["question"])


def _answered(item: dict[str, Any]) -> tuple[int, int, str, list[str]]:
    """Equal answers share one string: the file has six million."""
    answers = [sys.intern(answer["answer"]) for answer in item["answers"]]
    return (
        int(item["question_id"]),
        int(item["image_id"]),
        sys.intern(item["multiple_choice_answer"]),
        answers,
    )


def _items(
    path: Path, member: str, array: str, parse: Callable[[dict[str, Any]], tuple]
) -> Iterator[tuple]:
    """The parsed objects of an array of a zipped JSON file. Raises UserError that names the file
    and the object."""
    json_stream.pick(path.parent, path.name)
    count = 0
    try:
        with json_stream.open_text(path, member) as stream:
            for item in json_stream.json_items(stream, rf'"{array}"\s*:\s*\['):
                yield parse(item)
                count += 1
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise UserError(f"{path}: {member}: {array}[{count}]: {error!r}") from None


def _tree(root: Path, part: str) -> Tree:
    return Tree(json_stream.pick(root, f"{part}.zip", part), f"{part}/")
