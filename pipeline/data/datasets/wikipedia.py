"""English Wikipedia: the multistream XML dump, from wikitext to sentences."""

import bz2
import io
import mmap
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast
from xml.etree import ElementTree

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Node, Tag, Text, Wikilink
from mwparserfromhell.parser import ParserError
from mwparserfromhell.wikicode import Wikicode

from pipeline.data.datasets.formats import sentence_splitter
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import Rejected, TextRecord, document, tidy
from pipeline.errors import UserError

KIND = "text"
_DUMPS = "enwiki-*-pages-articles*.xml*.bz2"
_BACK_MATTER = frozenset(
    (
        "references",
        "external links",
        "see also",
        "further reading",
        "notes",
        "bibliography",
        "sources",
        "footnotes",
        "notes and references",
        "citations",
    )
)
_DROPPED_TAGS = frozenset(
    (
        "ref",
        "references",
        "table",
        "gallery",
        "math",
        "timeline",
        "imagemap",
        "score",
        "syntaxhighlight",
        "source",
        "style",
        "script",
        "templatestyles",
    )
)
_DROPPED_LINKS = frozenset(("file", "image", "media", "category", "template", "portal"))
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*")
# Quotes that mean italics or bold (where they are unbalanced, the parser does not parse the whole
# section), and magic words.
_STYLE = re.compile(r"''(?='s\b)|'{2,}|__[A-Z]+__")
_LIST_MARKS = "*#:; \t"
_STREAM_MAGIC = re.compile(rb"BZh[1-9]1AY&SY")  # headers of a stream and of its first block
_CHUNK = 1 << 20  # bytes
_LARGEST = 64 << 20  # bytes of a page (choice: the longest real ones have two million)
_EXPANSION = 4  # decompressed bytes per byte of the dump, about
_FEWEST_WORDS = 5  # a shorter line is a list item or a caption, not prose (choice)


@dataclass(frozen=True)
class _Stream:
    """Bytes `start` to `stop` of a dump; last: whether the dump ends there."""

    path: Path
    start: int
    stop: int
    last: bool

    @property
    def size(self) -> int:
        """Bytes of the decompressed text, about."""
        return _EXPANSION * (self.stop - self.start)


def files(root: Path) -> list[Path]:
    """The dump, whole or in parts."""
    if dumps := sorted(path for path in root.glob(_DUMPS) if "-index" not in path.name):
        return dumps
    raise FileNotFoundError(f"no {_DUMPS} in {root}")


def listed(status: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """Sizes in bytes and SHA-1 of the parts of a dump, by its `dumpstatus.json`.

    Raises:
        ValueError: it is not of this format, or says that the dump is not finished.
    """
    try:
        job = status["jobs"]["articlesmultistreamdump"]
        if job["status"] != "done":
            raise ValueError(f"the dump is {job['status']}, not done")
        parts = {}
        for name, part in sorted(job["files"].items()):
            if ".xml" in name and "/" not in name:
                parts[name] = int(part["size"]), str(part["sha1"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no list of the files of a dump: {error!r}") from None
    return parts


def entries(root: Path) -> Iterator[_Stream]:
    """The bz2 streams of a multistream dump, each of a hundred pages; a plain dump is one entry."""
    for path in files(root):
        starts = _stream_starts(path) if "multistream" in path.name else [0]
        stops = [*starts[1:], path.stat().st_size]
        for start, stop in zip(starts, stops, strict=True):
            yield _Stream(path, start, stop, last=stop == stops[-1])


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Articles that contain prose."""
    return {"articles": sharded.rows("train", "val")}


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Stream], Iterator[TextRecord | Rejected]]]:
    """Articles in dump order, keyed by page id."""
    yield _read


def _read(entry: _Stream) -> Iterator[TextRecord | Rejected]:
    """Raises UserError if the dump is cut short or damaged."""
    try:
        for page in _pages(entry):
            yield from _record(page)
    except (ElementTree.ParseError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{entry.path}: damaged dump near byte {entry.start}: {error}") from None


def _record(page: ElementTree.Element) -> Iterator[TextRecord | Rejected]:
    children = _children(page)
    number = children["id"].text or ""
    if children["ns"].text != "0":
        yield Rejected(number, "not an article")
    elif "redirect" in children:
        yield Rejected(number, "redirect")
    else:
        revision = _children(children["revision"])
        wikitext = (revision["text"].text or "") if "text" in revision else ""
        try:
            lines = paragraphs(wikitext)
        except (ParserError, RecursionError):
            yield Rejected(number, "wikitext that cannot be parsed")
        else:
            sentences = chain.from_iterable(map(sentence_splitter.split, lines))
            yield from document(number, "train", sentences)


def paragraphs(wikitext: str) -> list[str]:
    """The paragraphs of an article's prose: no markup, headings, tables, references, images, back
    matter."""
    texts, skipping = [], False
    for node in mwparserfromhell.parse(wikitext, skip_style_tags=True).nodes:
        if isinstance(node, Heading):
            skipping = node.title.strip_code().strip().lower() in _BACK_MATTER
            texts.append("\n")
        elif not skipping:
            texts.append(_plain_text(node))
    lines = []
    for line in _STYLE.sub("", "".join(texts)).splitlines():
        text = tidy(line.lstrip(_LIST_MARKS))
        if len(text.split()) >= _FEWEST_WORDS and text[0] not in "|!{":
            lines.append(text)
    return lines


def _stream_starts(path: Path) -> list[int]:
    """Offsets in bytes at which bz2 streams start.

    A stream starts on a whole byte with ten known bytes, which compressed data equals by chance
    once in 2^77. So the dump's own index of streams is not needed.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if starts := [match.start() for match in _STREAM_MAGIC.finditer(data)]:
                return starts
    except ValueError:  # of an empty file
        pass
    raise UserError(f"{path}: not a bz2 file")


def _pages(entry: _Stream) -> Iterator[ElementTree.Element]:
    """The page elements. Tags are matched by local name, as the namespace changes over the years.

    The first stream opens the document and the last one closes it; in between there are pages
    without a root.
    """
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(
        ("start", "end")
    )
    if entry.start:
        parser.feed(b"<mediawiki>")
    root, depth, pending = None, 0, 0
    for data in _decompressed(entry):
        parser.feed(data)
        if (pending := pending + len(data)) > _LARGEST:
            raise ValueError(f"a page of more than {_LARGEST} bytes")
        # The elements of the two events asked for; the stubs allow for others.
        events = cast(Iterator[tuple[str, ElementTree.Element]], parser.read_events())
        for event, element in events:
            root = element if root is None else root
            depth += 1 if event == "start" else -1
            if event == "end" and _local_name(element) == "page":
                yield element
                root.clear()
                pending = 0
    if entry.last:
        parser.close()
    elif depth > 1:
        raise ValueError("a page without its end")


class _BoundedReader(io.RawIOBase):
    """The next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self._left = file, size

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(data)
        return data


def _decompressed(entry: _Stream) -> Iterator[bytes]:
    """The decompressed bytes. Raises EOFError if a stream is cut short."""
    with open(entry.path, "rb") as file:
        file.seek(entry.start)
        stream = bz2.BZ2File(_BoundedReader(file, entry.stop - entry.start))
        while data := stream.read(_CHUNK):
            yield data


def _children(element: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """The children by local name."""
    return {_local_name(child): child for child in element}


def _local_name(element: ElementTree.Element) -> str:
    """The tag without its namespace."""
    return element.tag.rpartition("}")[2]


def _plain_text(node: Node) -> str:
    """The text of a node as a reader sees it; none of templates, comments and arguments."""
    if isinstance(node, Text):
        return node.value
    if isinstance(node, HTMLEntity):
        return node.normalize() or ""
    if isinstance(node, Wikilink):
        return _link_text(node)
    if isinstance(node, ExternalLink):
        return _inner_text(node.title)
    if isinstance(node, Tag):
        name = str(node.tag).strip().lower()
        if name == "br":
            return "\n"
        return "" if name in _DROPPED_TAGS else _inner_text(node.contents)
    return ""


def _inner_text(code: Wikicode | None) -> str:
    return "" if code is None else "".join(map(_plain_text, code.nodes))


def _link_text(node: Wikilink) -> str:
    prefix = str(node.title).partition(":")[0].strip().lower() if ":" in node.title else ""
    if prefix in _DROPPED_LINKS or (node.text is None and _LANGUAGE.fullmatch(prefix)):
        return ""
    return _inner_text(node.title if node.text is None else node.text)
