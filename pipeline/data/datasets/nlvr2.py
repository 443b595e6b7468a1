"""NLVR2: statements from `train.json`, `dev.json` and `test1.json` (test-P), pictures from folders
or zips of them."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.datasets.formats import json_stream
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import Rejected, Split, StatementRecord, fault, tidy
from pipeline.errors import UserError

KIND = "statements"
_SPLITS: dict[str, Split] = {
    "train": "train",
    "dev": "val",
    "test1": "test",
}  # file, and what it is here
_LABELS = {"true": 1, "false": 0}  # the official evaluator ignores case


@dataclass(frozen=True)
class _Entry:
    name: str  # of the file of statements
    identifier: str
    statement: str
    label: int
    pictures: tuple[str, str]
    size: int


def files(root: Path) -> list[Path]:
    """Statements, and archives or all pictures of folders."""
    found = []
    for name in _SPLITS:
        place = _place(root, name)
        pictures = (
            [place]
            if place.is_file()
            else sorted(path for path in place.rglob("*") if path.is_file())
        )
        found += [_statements(root, name), *pictures]
    return found


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """Examples in file order.

    Raises:
        UserError: a file holds the examples of another split.
    """
    for name in _SPLITS:
        path = _statements(root, name)
        with (
            Tree(_place(root, name)) as tree,
            open(path, encoding="utf-8", errors="replace") as lines,
        ):
            # By file name: some copies have lost the numbered folders of `train`.
            pictures = {place.rpartition("/")[2]: place for place in tree.names()}
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _entry(name, path, number, line, pictures, tree)


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[StatementRecord | Rejected]]]:
    """Statements with both pictures."""
    with ExitStack() as stack:
        trees = {name: stack.enter_context(Tree(_place(root, name))) for name in _SPLITS}

        def read(entry: _Entry) -> Iterator[StatementRecord | Rejected]:
            yield _record(entry, trees[entry.name])

        yield read


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Examples of each file, and those that lack a picture."""
    found = {}
    for name in _SPLITS:
        with open(_statements(root, name), "rb") as lines:
            found[name] = sum(1 for line in lines if line.strip())
    return found | {"missing images": sharded.rejected("missing image")}


def picture_names(identifier: str) -> tuple[str, str]:
    """File names of the left and the right picture. They end in `.png` whatever their format."""
    pair = identifier.rpartition("-")[0]
    return f"{pair}-img0.png", f"{pair}-img1.png"


def group(identifier: str) -> str:
    """What the official consistency groups by: `split-set-pair-sentence` without the pair."""
    split, number, _, sentence = identifier.split("-")
    return f"{split}-{number}-{sentence}"


def _statements(root: Path, name: str) -> Path:
    return json_stream.pick(
        root, f"{name}.json", f"data/{name}.json"
    )  # flat, or as in the repository


def _place(root: Path, name: str) -> Path:
    return json_stream.pick(root, f"{name}_img.zip", f"images/{name}", name)


def _entry(
    name: str, path: Path, number: int, line: str, pictures: dict[str, str], tree: Tree
) -> _Entry | Rejected:
    try:
        identifier, statement, label = _parse(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Rejected(f"{path.name}:{number}", f"damaged line: {error}")
    if identifier.split("-")[0] != name:
        raise UserError(
            f"{path}:{number}: {identifier} is no example of {name}; is this the file of another split?"
        )
    sides = picture_names(identifier)
    if missing := [file for file in sides if file not in pictures]:
        return Rejected(identifier, f"missing image: {missing[0]}")
    left, right = (pictures[file] for file in sides)
    return _Entry(
        name, identifier, statement, label, (left, right), tree.size(left) + tree.size(right)
    )


def _record(entry: _Entry, tree: Tree) -> StatementRecord | Rejected:
    sides = []
    for place in entry.pictures:
        try:
            sides.append(tree.read(place))
        except BadMember as error:
            return Rejected(entry.identifier, f"{error}: {place.rpartition('/')[2]}")
    return StatementRecord(
        entry.identifier,
        _SPLITS[entry.name],
        *sides,
        entry.statement,
        entry.label,
        group(entry.identifier),
    )


def _parse(line: str) -> tuple[str, str, int]:
    """Identifier, statement and label. Raises one of four errors where the line is not what it
    should be."""
    example: dict[str, Any] = json.loads(line)
    identifier, statement, label = (
        example["identifier"],
        tidy(example["sentence"]),
        example["label"].lower(),
    )
    if identifier.count("-") != 3:
        raise ValueError(f"identifier {identifier!r} is not split-set-pair-sentence")
    if wrong := fault(statement):
        raise ValueError(f"{identifier}: {wrong} sentence")
    if label not in _LABELS:
        raise ValueError(f"{identifier} has the label {label!r}, neither True nor False")
    return identifier, statement, _LABELS[label]
