"""BookCorpus: one tokenised sentence per line and no book boundaries; or plain texts of Project
Gutenberg.

BookCorpus is no longer distributed, so a folder of public-domain books is its usual substitute.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import BinaryIO

from pipeline.data.datasets.formats import json_stream, sentence_splitter
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import Rejected, TextRecord, document, tidy

KIND = "text"
_PARTS = ("books_large_p1.txt", "books_large_p2.txt")
_LINES = 64  # of a document, where the file does not tell the books apart (choice)
_LARGEST = 64 << 20  # bytes of a book or a line (choice: the longest real books have a tenth of it)
_START = re.compile(r"^\*\*\* ?START OF.*$", re.MULTILINE)
_END = re.compile(r"^\*\*\* ?END OF.*$", re.MULTILINE)
_BREAK = re.compile(r"\n\s*\n")
_UNDERSCORED = re.compile(r"_([^_\n]+)_")  # italics


@dataclass(frozen=True)
class _Lines:
    key: str
    data: bytes

    @property
    def size(self) -> int:
        return 4 * len(
            self.data
        )  # a line of 60 bytes takes 200 as a string in a list, and then it is pickled


@dataclass(frozen=True)
class _Book:
    path: Path
    size: int


def files(root: Path) -> list[Path]:
    """The two official parts, or else every text file of the folder."""
    if (root / _PARTS[0]).exists():
        return [json_stream.pick(root, name) for name in _PARTS]
    if books := sorted(root.glob("*.txt")):
        return books
    raise FileNotFoundError(f"no {_PARTS[0]} or other *.txt in {root}")


def entries(root: Path) -> Iterator[_Lines | _Book]:
    """Runs of lines, keyed `<file>_<number>`; or whole books, keyed by file name."""
    for path in files(root):
        if path.name in _PARTS:
            yield from _runs(path)
        else:
            yield _Book(path, path.stat().st_size)


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Sentences that were kept."""
    return {"sentences": sum(map(len, sharded.column("sentences")))}


@contextmanager
def open_reader(
    root: Path,
) -> Iterator[Callable[[_Lines | _Book], Iterator[TextRecord | Rejected]]]:
    """Documents."""
    yield _read


def _read(entry: _Lines | _Book) -> Iterator[TextRecord | Rejected]:
    if isinstance(entry, _Lines):
        yield from document(
            entry.key, "train", map(tidy, entry.data.decode("utf-8", "replace").split("\n"))
        )
    elif entry.size > _LARGEST:
        yield Rejected(entry.path.stem, f"too large a file: {entry.size} bytes")
    else:
        yield from document(entry.path.stem, "train", _book(entry.path))


def _runs(path: Path) -> Iterator[_Lines]:
    """The lines that are not blank, so many at a time."""
    with open(path, "rb") as file:
        lines = filter(None, map(bytes.strip, _bounded(file)))
        for number in count():
            if not (run := list(islice(lines, _LINES))):
                return
            yield _Lines(f"{path.stem}_{number:07d}", b"\n".join(run))


def _bounded(file: BinaryIO) -> Iterator[bytes]:
    """Lines, of which none is longer than _LARGEST: the rest of it is another."""
    while line := file.readline(_LARGEST):
        yield line


def _book(path: Path) -> tuple[str, ...]:
    """The sentences of one book without Gutenberg's header and footer, hard line breaks undone."""
    text = _decode(path.read_bytes())
    if start := _START.search(text):
        text = text[start.end() :]
    if end := _END.search(text):
        text = text[: end.start()]
    paragraphs = map(tidy, _BREAK.split(_UNDERSCORED.sub(r"\1", text)))
    return tuple(
        sentence for paragraph in paragraphs for sentence in sentence_splitter.split(paragraph)
    )


def _decode(raw: bytes) -> str:
    """UTF-8, or the Latin-1 of older files; line ends as `\\n`."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n")
