"""NLVR2: statements from `train.json`, `dev.json` and `test1.json` (test-P), images from folders or
zips of them."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.datasets.formats import json_stream
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import Rejected, Split, StatementRecord, annotation_text, fault
from pipeline.errors import UserError

KIND = "statements"
# by the name of the file
_SPLITS: dict[str, Split] = {"train": "train", "dev": "val", "test1": "test"}
_LABELS = {"true": 1, "false": 0}  # the official evaluator ignores case


@dataclass(frozen=True)
class _Entry:
    """name: of the file of statements; images: names of the left and the right image in the tree;
    size: bytes of both images."""

    name: str
    identifier: str
    statement: str
    label: int
    images: tuple[str, str]
    size: int


def files(root: Path) -> list[Path]:
    """Statements, and archives or all images of folders."""
    paths = []
    for name in _SPLITS:
        images = _image_root(root, name)
        paths.append(_statements(root, name))
        paths += [images] if images.is_file() else sorted(filter(Path.is_file, images.rglob("*")))
    return paths


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """Examples in file order.

    Raises:
        UserError: a file holds the examples of another split.
    """
    for name in _SPLITS:
        path = _statements(root, name)
        with (
            Tree(_image_root(root, name)) as tree,
            open(path, encoding="utf-8", errors="replace") as lines,
        ):
            # By file name: some copies have lost the numbered folders of `train`.
            images = {image.rpartition("/")[2]: image for image in tree.names()}
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _entry(name, path, number, line, images, tree)


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[StatementRecord | Rejected]]]:
    """Statements with both images."""
    with ExitStack() as stack:
        trees = {name: stack.enter_context(Tree(_image_root(root, name))) for name in _SPLITS}

        def read(entry: _Entry) -> Iterator[StatementRecord | Rejected]:
            yield _record(entry, trees[entry.name])

        yield read


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Examples of each file, and those that lack an image."""
    totals = {}
    for name in _SPLITS:
        with open(_statements(root, name), "rb") as lines:
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


def _statements(root: Path, name: str) -> Path:
    """The file, beside the images or where the repository has it."""
    return json_stream.pick(root, f"{name}.json", f"data/{name}.json")


def _image_root(root: Path, name: str) -> Path:
    """The zip of images, or a folder."""
    return json_stream.pick(root, f"{name}_img.zip", f"images/{name}", name)


def _entry(
    name: str, path: Path, number: int, line: str, images: dict[str, str], tree: Tree
) -> _Entry | Rejected:
    try:
        identifier, statement, label = _parse(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Rejected(f"{path.name}:{number}", f"damaged line: {error}")
    if identifier.split("-")[0] != name:
        raise UserError(
            f"{path}:{number}: {identifier} is no example of {name}; "
            "is this the file of another split?"
        )
    for filename in image_names(identifier):
        if filename not in images:
            return Rejected(identifier, f"missing image: {filename}")
    left, right = map(images.__getitem__, image_names(identifier))
    size = tree.size(left) + tree.size(right)
    return _Entry(name, identifier, statement, label, (left, right), size)


def _record(entry: _Entry, tree: Tree) -> StatementRecord | Rejected:
    contents = []
    for image in entry.images:
        try:
            contents.append(tree.read(image))
        except BadMember as error:
            return Rejected(entry.identifier, f"{error}: {image.rpartition('/')[2]}")
    left, right = contents
    return StatementRecord(
        entry.identifier,
        _SPLITS[entry.name],
        left,
        right,
        entry.statement,
        entry.label,
        group(entry.identifier),
    )


def _parse(line: str) -> tuple[str, str, int]:
    """Identifier, statement and label (0 or 1).

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the line is not as it should be.
    """
    example: dict[str, Any] = json.loads(line)
    identifier, statement = example["identifier"], annotation_text(example["sentence"])
    label = example["label"].lower()
    if identifier.count("-") != 3:
        raise ValueError(f"identifier {identifier!r} is not split-set-pair-sentence")
    if problem := fault(statement):
        raise ValueError(f"{identifier}: {problem} sentence")
    if label not in _LABELS:
        raise ValueError(f"{identifier} has the label {label!r}, neither True nor False")
    return identifier, statement, _LABELS[label]
