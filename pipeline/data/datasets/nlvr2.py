"""NLVR2: statements from `train.json`, `dev.json` and `test1.json` (test-P), images from folders or
zips of them."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.data.datasets.formats import fields, json_stream, names, text_files
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.formats.fields import BadRecord
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import (
    SPLITS,
    Rejected,
    Split,
    StatementRecord,
    annotation_text,
    fault,
)
from pipeline.errors import UserError

KIND = "statements"
# by the name of the file
_SPLITS: dict[str, Split] = {"train": "train", "dev": "val", "test1": "test"}
_LABELS = {"true": 1, "false": 0}  # the official evaluator ignores case


class _Example(NamedTuple):
    """label: 1 if the statement is true, else 0."""

    identifier: str
    statement: str
    label: int


@dataclass(frozen=True)
class _Entry:
    """name: of the file of statements; images: names of the left and the right image in the tree;
    size: bytes of both images."""

    name: str
    example: _Example
    images: tuple[str, str]
    size: int


def files(root: Path, splits: Collection[str] = SPLITS) -> list[Path]:
    """Statements, and archives or all images of folders."""
    paths = []
    for name in _names(splits):
        images = _image_root(root, name)
        paths.append(_statements(root, name))
        listed = names.files_below(images) if images.is_dir() else [""]
        paths += [images / path for path in listed]
    return paths


def entries(root: Path, splits: Collection[str] = SPLITS) -> Iterator[_Entry | Rejected]:
    """Examples in file order.

    Raises:
        UserError: the first example of a file is one of another split.
    """
    for name in _names(splits):
        path = _statements(root, name)
        with Tree(_image_root(root, name)) as tree:
            # By file name: some copies have lost the numbered folders of `train`.
            images = {image.rpartition("/")[2]: image for image in tree.names()}
            for example in _examples(path, name):
                if isinstance(example, Rejected):
                    yield example
                else:
                    yield _entry(name, example, images, tree)


@contextmanager
def open_reader(
    root: Path, splits: Collection[str] = SPLITS
) -> Iterator[Callable[[_Entry], Iterator[StatementRecord | Rejected]]]:
    """Statements with both images."""
    with ExitStack() as stack:
        trees = {}
        for name in _names(splits):
            trees[name] = stack.enter_context(Tree(_image_root(root, name)))

        def read(entry: _Entry) -> Iterator[StatementRecord | Rejected]:
            yield _record(entry, trees[entry.name])

        yield read


def counts(root: Path, sharded: Sharded, splits: Collection[str] = SPLITS) -> dict[str, int]:
    """Examples of each file, and those that lack an image."""
    totals = {}
    for name in _names(splits):
        lines = text_files.lines(_statements(root, name))
        totals[name] = sum(1 for line in lines if line.strip())
    return totals | {"missing images": sharded.rejected("missing image")}


def image_names(identifier: str) -> tuple[str, str]:
    """File names of the left and the right image. They end in `.png` whatever their format."""
    pair = identifier.rpartition("-")[0]
    return f"{pair}-img0.png", f"{pair}-img1.png"


def group(identifier: str) -> str:
    """The part of `split-set-pair-sentence` by which the official consistency groups examples:
    without the pair."""
    split, number, _, sentence = identifier.split("-")
    return f"{split}-{number}-{sentence}"


def _names(splits: Collection[str]) -> list[str]:
    """Of the files of these splits."""
    return [name for name, split in _SPLITS.items() if split in splits]


def _statements(root: Path, name: str) -> Path:
    """The file, beside the images or where the repository has it."""
    return json_stream.pick(root, f"{name}.json", f"data/{name}.json")


def _image_root(root: Path, name: str) -> Path:
    """The zip of images, or a folder."""
    return json_stream.pick(root, f"{name}_img.zip", f"images/{name}", name)


def _examples(path: Path, name: str) -> Iterator[_Example | Rejected]:
    """The examples of a file. Raises UserError: the first is one of another split."""
    is_first = True
    for number, line in enumerate(text_files.lines(path), 1):
        if not line.strip():
            continue
        try:
            example = _parse(line)
        except BadRecord as error:
            yield Rejected(f"{path.name}:{number}", str(error))
            continue
        if example.identifier.split("-")[0] == name:
            yield example
        elif is_first:
            raise UserError(
                f"{path}:{number}: {example.identifier} is no example of {name}; "
                "is this the file of another split?"
            )
        else:
            yield Rejected(example.identifier, "example of another split")
        is_first = False


def _entry(name: str, example: _Example, images: dict[str, str], tree: Tree) -> _Entry | Rejected:
    filenames = image_names(example.identifier)
    for filename in filenames:
        if filename not in images:
            return Rejected(example.identifier, f"missing image: {filename}")
    left, right = map(images.__getitem__, filenames)
    return _Entry(name, example, (left, right), tree.size(left) + tree.size(right))


def _record(entry: _Entry, tree: Tree) -> StatementRecord | Rejected:
    identifier, statement, label = entry.example
    contents = []
    for image in entry.images:
        try:
            contents.append(tree.read(image))
        except BadMember as error:
            return Rejected(identifier, f"{error}: {image.rpartition('/')[2]}")
    left, right = contents
    split = _SPLITS[entry.name]
    return StatementRecord(identifier, split, left, right, statement, label, group(identifier))


def _parse(line: str) -> _Example:
    """Raises BadRecord: the line is not as it should be."""
    example = fields.parse(line)
    identifier = fields.text(example, "identifier")
    statement = annotation_text(fields.text(example, "sentence"))
    label = str(fields.value(example, "label")).lower()
    if identifier.count("-") != 3:
        raise BadRecord("damaged record: the identifier is not split-set-pair-sentence")
    if problem := fault(statement):
        raise BadRecord(f"{problem} sentence: {identifier}")
    if label not in _LABELS:
        raise BadRecord(f"damaged record: the label of {identifier} is neither True nor False")
    return _Example(identifier, statement, _LABELS[label])
