"""NLVR2: statements from `train.json`, `dev.json` and `test1.json` (test-P), pictures from folders or zips of them."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import UserError
from pipeline.sources import official
from pipeline.sources.records import Rejected, Split, StatementRecord, tidy

KIND = "statements"
_SPLITS: dict[str, Split] = {"train": "train", "dev": "val", "test1": "test"}  # file, and what it is here
_LABELS = {"true": 1, "false": 0}  # the official evaluator ignores case


class _Picture(Protocol):
    """Reads a picture; None where its bytes are damaged."""

    def __call__(self) -> bytes | None: ...


def files(root: Path) -> list[Path]:
    """Statements, and archives or all pictures of folders."""
    found = []
    for name in _SPLITS:
        place = _place(root, name)
        pictures = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        found += [_statements(root, name), *pictures]
    return found


def read(root: Path) -> Iterator[StatementRecord | Rejected]:
    """Examples in file order; two pictures are in memory at a time.

    Raises:
        UserError: a file holds the examples of another split.
    """
    for name in _SPLITS:
        with ExitStack() as open_files:
            pictures = _pictures(_place(root, name), open_files)
            path = _statements(root, name)
            with open(path, encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield _record(name, path, number, line, pictures)


def picture_names(identifier: str) -> tuple[str, str]:
    """File names of the left and the right picture. They end in `.png` whatever their format."""
    pair = identifier.rpartition("-")[0]
    return f"{pair}-img0.png", f"{pair}-img1.png"


def group(identifier: str) -> str:
    """What the official consistency groups by: `split-set-pair-sentence` without the pair."""
    split, number, _, sentence = identifier.split("-")
    return f"{split}-{number}-{sentence}"


def _statements(root: Path, name: str) -> Path:
    return official.pick(root, f"{name}.json", f"data/{name}.json")  # flat, or as in the repository


def _place(root: Path, name: str) -> Path:
    return official.pick(root, f"{name}_img.zip", f"images/{name}", name)


def _pictures(place: Path, open_files: ExitStack) -> dict[str, _Picture]:
    """Readers by file name: some copies have lost the numbered folders of `train`."""
    if place.is_dir():
        return {path.name: path.read_bytes for path in place.rglob("*.png")}
    archive = open_files.enter_context(zipfile.ZipFile(place))
    return {member.rpartition("/")[2]: partial(official.read_member, archive, member) for member in archive.namelist()}


def _record(name: str, path: Path, number: int, line: str,
            pictures: dict[str, _Picture]) -> StatementRecord | Rejected:
    try:
        identifier, statement, label = _parse(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Rejected(f"{path.name}:{number}", f"damaged line: {error}")
    if identifier.split("-")[0] != name:
        raise UserError(f"{path}:{number}: {identifier} is no example of {name}; is this the file of another split?")
    sides = {file: pictures[file]() if file in pictures else None for file in picture_names(identifier)}
    if missing := [file for file, data in sides.items() if data is None]:
        return Rejected(identifier, f"missing picture: {missing[0]}")
    return StatementRecord(identifier, _SPLITS[name], *sides.values(), statement, label, group(identifier))


def _parse(line: str) -> tuple[str, str, int]:
    """Identifier, statement and label. Raises one of four errors where the line is not what it should be."""
    example: dict[str, Any] = json.loads(line)
    identifier, statement, label = example["identifier"], tidy(example["sentence"]), example["label"].lower()
    if identifier.count("-") != 3:
        raise ValueError(f"identifier {identifier!r} is not split-set-pair-sentence")
    if not statement:
        raise ValueError(f"{identifier} has an empty sentence")
    if label not in _LABELS:
        raise ValueError(f"{identifier} has the label {label!r}, neither True nor False")
    return identifier, statement, _LABELS[label]
