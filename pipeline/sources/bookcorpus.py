"""BookCorpus: one tokenised sentence per line and no book boundaries; or plain texts of Project Gutenberg.

BookCorpus is no longer distributed, so a folder of public-domain books is its usual substitute.
"""

import re
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from pipeline.sources import official, sentences
from pipeline.sources.records import Rejected, TextRecord, tidy

KIND = "text"
_PARTS = ("books_large_p1.txt", "books_large_p2.txt")
_LINES = 64  # of a document, where the file does not tell the books apart (choice)
_START = re.compile(r"^\*\*\* ?START OF.*$", re.MULTILINE)
_END = re.compile(r"^\*\*\* ?END OF.*$", re.MULTILINE)
_BREAK = re.compile(r"\n\s*\n")
_UNDERSCORED = re.compile(r"_([^_\n]+)_")  # italics


def files(root: Path) -> list[Path]:
    """The two official parts, or else every text file of the folder."""
    if (root / _PARTS[0]).exists():
        return [official.pick(root, name) for name in _PARTS]
    if books := sorted(root.glob("*.txt")):
        return books
    raise FileNotFoundError(f"no {_PARTS[0]} or other *.txt in {root}")


def read(root: Path) -> Iterator[TextRecord | Rejected]:
    """Runs of lines, keyed `<file>_<number>`; or whole books, keyed by file name."""
    for path in files(root):
        if path.name in _PARTS:
            yield from _runs(path)
        elif found := _book(path):
            yield TextRecord(path.stem, "train", found)
        else:
            yield Rejected(path.stem, "empty text")


def _runs(path: Path) -> Iterator[TextRecord]:
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        lines = filter(None, map(tidy, file))
        for number in count():
            if not (run := tuple(islice(lines, _LINES))):
                return
            yield TextRecord(f"{path.stem}_{number:07d}", "train", run)


def _book(path: Path) -> tuple[str, ...]:
    """The sentences of one book without Gutenberg's header and footer, hard line breaks undone."""
    text = _decode(path.read_bytes())
    if start := _START.search(text):
        text = text[start.end():]
    if end := _END.search(text):
        text = text[:end.start()]
    paragraphs = map(tidy, _BREAK.split(_UNDERSCORED.sub(r"\1", text)))
    return tuple(sentence for paragraph in paragraphs for sentence in sentences.split(paragraph))


def _decode(raw: bytes) -> str:
    """UTF-8, or the Latin-1 of older files; line ends as `\\n`."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n")
