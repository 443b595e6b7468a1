"""VQA 2.0: questions about COCO's images, each with the answers of ten people.

Images are in COCO's zips, or in the folders that these unpack to. `train` is train2014 with
val2014, without the images of val2014 that are for validation (ViLT); `test` is test2015. The
answers to the test questions are not published; if a file like the other two has them, they are
read from it.
"""

import sys
import zipfile
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.data.datasets.formats import fields, json_stream, names
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.formats.fields import BadRecord
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import (
    LONGEST,
    SPLITS,
    Question,
    QuestionsRecord,
    Rejected,
    Split,
    annotation_text,
    fault,
    tidy,
)
from pipeline.errors import UserError
from pipeline.utils import seeds

KIND = "questions"
ANSWERS = 10  # of each question
_PARTS = {"train2014": "Train", "val2014": "Val", "test2015": "Test"}
# what the images of each are for
_PARTS_OF = {"train": ("train2014", "val2014"), "val": ("val2014",), "test": ("test2015",)}
_VALIDATION = 1000  # images of val2014 (ViLT), and never more than half of them
_QUESTION_FILES = {
    "train questions": ("Train", "train2014"),
    "val questions": ("Val", "val2014"),
    "test questions": ("Test", "test2015"),
    "test-dev questions": ("Test", "test-dev2015"),
}

_Annotation = tuple[int, tuple[str, ...]]  # image id and answers
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Entry:
    """size: bytes of the image."""

    key: str
    split: Split
    part: str
    questions: tuple[Question, ...]
    size: int


def files(root: Path, splits: Collection[str] = SPLITS) -> list[Path]:
    """Images, questions and answers."""
    paths: list[Path] = []
    for part, name in _parts(splits).items():
        images = json_stream.pick(root, f"{part}.zip", part)
        listed = names.files_below(images) if images.is_dir() else [""]
        paths += [images / path for path in listed]
        paths.append(json_stream.pick(root, f"v2_Questions_{name}_mscoco.zip"))
        if _is_annotated(root, part):
            paths.append(json_stream.pick(root, _annotation_path(root, part).name))
    return paths


def entries(root: Path, splits: Collection[str] = SPLITS) -> Iterator[_Entry | Rejected]:
    """Images with all their questions, in the order of the question files; the key is COCO's file
    name.

    The answers of a question start with the most frequent one, the annotations'
    `multiple_choice_answer`. The questions and answers of one part are in memory together: a
    quarter of a gigabyte.

    Raises:
        UserError: a file is damaged or not of the official format.
    """
    for part in _parts(splits):
        questions_of = yield from _usable_questions(root, part)
        sizes = _sizes(root, part, questions_of)
        validation = _validation_images(sizes) if part == "val2014" else frozenset()
        for image, questions in questions_of.items():
            split: Split = "val" if image in validation else "train"
            if part == "test2015":
                split = "test"
            if split in splits:
                yield _Entry(_key(part, image), split, part, tuple(questions), sizes[image])


@contextmanager
def open_reader(
    root: Path, splits: Collection[str] = SPLITS
) -> Iterator[Callable[[_Entry], Iterator[QuestionsRecord | Rejected]]]:
    """Images with their questions."""
    with ExitStack() as stack:
        trees = {part: stack.enter_context(_tree(root, part)) for part in _parts(splits)}

        def read(entry: _Entry) -> Iterator[QuestionsRecord | Rejected]:
            try:
                image = trees[entry.part].read(f"{entry.key}.jpg")
            except BadMember as error:
                for question in entry.questions:
                    yield Rejected(f"{entry.key}#{question.id}", str(error))
            else:
                yield QuestionsRecord(entry.key, entry.split, image, entry.questions)

        yield read


def counts(root: Path, sharded: Sharded, splits: Collection[str] = SPLITS) -> dict[str, int]:
    """Questions of each file, and how many of those that are read lack answers or an image."""
    totals = {}
    for name, (archive, part) in _QUESTION_FILES.items():
        if archive in _parts(splits).values():
            totals[name] = sum(1 for _ in _questions(root, archive, part))
    return totals | {
        "questions without ten answers": sharded.rejected("wrong answers", "no annotation"),
        "missing images": sharded.rejected("missing image"),
    }


def best_answers(root: Path) -> Iterator[str]:
    """The `multiple_choice_answer` of every annotation of train2014, then of val2014: as it is
    written, in the order of the files.

    Raises:
        UserError: a file is missing, damaged or not of the official format.
    """
    for part in ("train2014", "val2014"):
        path, member = _annotation_path(root, part), _annotation_member(part)
        try:
            for found in _items(path, member, "annotations", _parse_best_answer):
                if isinstance(found, Rejected):
                    raise UserError(f"{path}: {found.key}: {found.reason}")
                yield found
        except (FileNotFoundError, zipfile.BadZipFile) as error:
            raise UserError(f"{error}; get it again: it is an official file of VQA 2.0") from None


def _parts(splits: Collection[str]) -> dict[str, str]:
    """Those of _PARTS that hold images of these splits."""
    wanted = {part for split in splits for part in _PARTS_OF[split]}
    return {part: name for part, name in _PARTS.items() if part in wanted}


def _key(part: str, image: int) -> str:
    return f"COCO_{part}_{image:012d}"


def _annotation_path(root: Path, part: str) -> Path:
    return root / f"v2_Annotations_{_PARTS[part]}_mscoco.zip"


def _annotation_member(part: str) -> str:
    return f"v2_mscoco_{part}_annotations.json"


def _is_annotated(root: Path, part: str) -> bool:
    """Whether there are, or must be, answers to the questions of a part."""
    return part != "test2015" or _annotation_path(root, part).exists()


def _sizes(root: Path, part: str, images: Iterable[int]) -> dict[int, int]:
    """Bytes of images, 0 for those that are missing."""
    with _tree(root, part) as tree:
        return {image: tree.size(f"{_key(part, image)}.jpg") for image in images}


def _validation_images(sizes: Mapping[int, int]) -> frozenset[int]:
    """1,000 of the images that are there by a hash of their ids, or half of them where they are
    few. sizes: bytes of images by id."""
    there = (image for image, size in sizes.items() if size)
    order = sorted(there, key=lambda image: seeds.key("vqav2 held out", image))
    return frozenset(order[: min(_VALIDATION, len(order) // 2)])


def _usable_questions(
    root: Path, part: str
) -> Generator[Rejected, None, dict[int, list[Question]]]:
    """Yields what is rejected; returns the usable questions by image id."""
    annotations = (yield from _usable_answers(root, part)) if _is_annotated(root, part) else None
    usable: dict[int, list[Question]] = {}
    seen: set[int] = set()
    for asked in _questions(root, _PARTS[part], part):
        if isinstance(asked, Rejected):
            yield asked
            continue
        number, image, text = asked
        annotation = (image, ()) if annotations is None else annotations.pop(number, None)
        problem = "duplicate question" if number in seen else _problem(text, image, annotation)
        if problem:
            yield Rejected(f"{_key(part, image)}#{number}", problem)
        else:
            assert annotation is not None
            usable.setdefault(image, []).append(Question(number, text, annotation[1]))
        seen.add(number)
    for number, (image, _) in (annotations or {}).items():
        yield Rejected(f"{_key(part, image)}#{number}", "annotation without question")
    return usable


def _problem(text: str, image: int, annotation: _Annotation | None) -> str | None:
    """Why a question about an image cannot be used, None if it can."""
    if problem := fault(text):
        return f"{problem} question"
    if annotation is None:
        return "no annotation"
    return "annotation of another image" if annotation[0] != image else None


def _usable_answers(root: Path, part: str) -> Generator[Rejected, None, dict[int, _Annotation]]:
    """Yields what is rejected; returns the usable answers by question id."""
    usable: dict[int, _Annotation] = {}
    path, member = _annotation_path(root, part), _annotation_member(part)
    for found in _items(path, member, "annotations", _parse_annotation):
        if isinstance(found, Rejected):
            yield found
            continue
        number, image, best, answers = found
        if number in usable:
            yield Rejected(f"{_key(part, image)}#{number}", "duplicate annotation")
            continue
        if len(answers) != ANSWERS or best not in answers:
            problem = f"expected {ANSWERS} answers, {best!r} among them, found {len(answers)}"
            yield Rejected(f"{_key(part, image)}#{number}", f"wrong answers: {problem}")
            continue
        answers.remove(best)
        usable[number] = image, (best, *answers)
    return usable


def _questions(root: Path, archive: str, part: str) -> Iterator[tuple[int, int, str] | Rejected]:
    """Question id, image id and text of each question of a file."""
    path = root / f"v2_Questions_{archive}_mscoco.zip"
    member = f"v2_OpenEnded_mscoco_{part}_questions.json"
    return _items(path, member, "questions", _parse_question)


def _parse_question(item: Any) -> tuple[int, int, str]:
    """Raises BadRecord."""
    number, image = fields.integer(item, "question_id"), fields.integer(item, "image_id")
    return number, image, annotation_text(fields.text_or_damaged(item, "question"))


def _parse_annotation(item: Any) -> tuple[int, int, str, list[str]]:
    """Question id, image id, most frequent answer and all answers. Equal answers share one string:
    the file has six million. Raises BadRecord."""
    answers = [_answer(answer, "answer") for answer in fields.items(item, "answers")]
    best = _answer(item, "multiple_choice_answer")
    return fields.integer(item, "question_id"), fields.integer(item, "image_id"), best, answers


def _parse_best_answer(item: Any) -> str:
    """Raises BadRecord."""
    return fields.text(item, "multiple_choice_answer")


def _answer(item: Any, name: str) -> str:
    """As the annotator wrote it, if it can be printed. Raises BadRecord."""
    text = fields.text(item, name)
    if not (text.isascii() and text.isprintable()) or len(text) > LONGEST:
        text = text if text.isprintable() else tidy(text)
        if text and (problem := fault(text)):
            raise BadRecord(f"wrong answers: {problem} {name}")
    return sys.intern(text)


def _items(
    path: Path, member: str, array: str, parse: Callable[[Any], _T]
) -> Iterator[_T | Rejected]:
    """The parsed objects of an array of a zipped JSON file, `Rejected` in place of those that are
    not as they should be.

    Raises:
        UserError: the file is damaged.
    """
    json_stream.pick(path.parent, path.name)
    try:
        with json_stream.open_text(path, member) as stream:
            items = json_stream.json_items(stream, array)
            yield from fields.parsed(items, parse, f"{member}: {array}")
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{path}: {member}: {array}: {error}") from None


def _tree(root: Path, part: str) -> Tree:
    return Tree(json_stream.pick(root, f"{part}.zip", part), f"{part}/")
