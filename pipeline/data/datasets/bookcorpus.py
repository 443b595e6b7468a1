"""BookCorpus: one tokenized sentence per line and no book boundaries; or plain texts of Project
Gutenberg.

BookCorpus is no longer distributed, so a folder of public-domain books is its usual substitute.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from pipeline.data.datasets.formats import json_stream, names, sentence_splitter, text_files
from pipeline.data.datasets.formats.text_files import NotText
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import Rejected, TextRecord, document, tidy

KIND = "text"
_PARTS = ("books_large_p1.txt", "books_large_p2.txt")
_LINES = 64  # of a document, where the file does not mark the ends of books (choice)
_START = re.compile(r"^\*\*\* ?START OF.*$", re.MULTILINE)
_END = re.compile(r"^\*\*\* ?END OF.*$", re.MULTILINE)
_BREAK = re.compile(r"\n\s*\n")
_UNDERSCORED = re.compile(r"_(?! )([^_]+)(?<! )_")  # italics
_UNDERSCORE = re.compile(r"(?<!\w)_(?=[^_ ])|(?<=[^_ ])_(?!\w)")


@dataclass(frozen=True)
class _Lines:
    """Successive lines of a file of many books."""

    key: str
    text: str

    @property
    def size(self) -> int:
        """Bytes: a line of 60 takes 200 as a string in a list, and then it is pickled."""
        return 4 * len(self.text)


@dataclass(frozen=True)
class _Book:
    """A book in a file of its own; size: bytes."""

    path: Path
    size: int


def files(root: Path) -> list[Path]:
    """The two official parts, or else every text file of the folder."""
    if (root / _PARTS[0]).exists():
        return [json_stream.pick(root, name) for name in _PARTS]
    if books := sorted(path for path in root.glob("*.txt") if _is_book(path)):
        return books
    raise FileNotFoundError(f"no {_PARTS[0]} or other *.txt in {root}")


def _is_book(path: Path) -> bool:
    return names.is_data(path.name) and path.is_file()


def entries(root: Path) -> Iterator[_Lines | _Book]:
    """64 lines at a time, keyed `<file>_<number>`; or whole books, keyed by file name."""
    for path in files(root):
        if path.name in _PARTS:
            yield from _chunks(path)
        else:
            yield _Book(path, path.stat().st_size)


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Sentences in the shards."""
    return {"sentences": sum(map(len, sharded.column("sentences")))}


@contextmanager
def open_reader(
    root: Path,
) -> Iterator[Callable[[_Lines | _Book], Iterator[TextRecord | Rejected]]]:
    """Documents."""
    yield _read


def _read(entry: _Lines | _Book) -> Iterator[TextRecord | Rejected]:
    if isinstance(entry, _Lines):
        yield from document(entry.key, "train", map(tidy, entry.text.split("\n")))
    elif entry.size > text_files.LARGEST:
        yield Rejected(entry.path.stem, f"too large a file: {entry.size} bytes")
    else:
        yield from _book(entry.path)


def _book(path: Path) -> Iterator[TextRecord | Rejected]:
    try:
        text = text_files.decode(path.read_bytes())
    except NotText as error:
        yield Rejected(path.stem, str(error))
    else:
        yield from document(path.stem, "train", _sentences(text))


def _chunks(path: Path) -> Iterator[_Lines]:
    """The lines that are not blank, _LINES at a time."""
    lines = filter(None, map(str.strip, text_files.lines(path)))
    for number in count():
        if not (chunk := list(islice(lines, _LINES))):
            return
        yield _Lines(f"{path.stem}_{number:07d}", "\n".join(chunk))


def _sentences(text: str) -> Iterator[str]:
    """The sentences of one book without Gutenberg's header and footer, hard line breaks undone."""
    if start := _START.search(text):
        text = text[start.end() :]
    if end := _END.search(text):
        text = text[: end.start()]
    for paragraph in _BREAK.split(text):
        yield from sentence_splitter.split(_without_italics(tidy(paragraph)))


def _without_italics(paragraph: str) -> str:
    """A tidy paragraph without the underscores around words in italics, however many; one at the
    edge of a word that has no partner goes, too."""
    for pattern, text in ((_UNDERSCORED, r"\1"), (_UNDERSCORE, "")):
        if "_" in paragraph:
            paragraph = pattern.sub(text, paragraph)
    return paragraph
