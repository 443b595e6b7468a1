"""English Wikipedia: the multistream XML dump, from wikitext to sentences."""

import bz2
import mmap
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
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
# Quotes that mean italics or bold (the parser gives up on whole sections where they do not
# balance), magic words.
_STYLE = re.compile(r"''(?='s\b)|'{2,}|__[A-Z]+__")
_LIST_MARKS = "*#:; \t"
_MAGIC = re.compile(rb"BZh[1-9]1AY&SY")  # a stream's header and its first block's
_CHUNK = 1 << 20  # bytes
_LARGEST = 64 << 20  # bytes of a page (choice: the longest real ones have two million)
_EXPANSION = 4  # decoded bytes for one of the dump
_WORDS = 5  # a shorter line is a list item or a caption, not prose (choice)


@dataclass(frozen=True)
class _Stream:
    """Bytes `start` to `stop` of a dump; `last`: its end."""

    path: Path
    start: int
    stop: int
    last: bool

    @property
    def size(self) -> int:
        """Decoded, about."""
        return _EXPANSION * (self.stop - self.start)


def files(root: Path) -> list[Path]:
    """The dump, whole or in parts."""
    if found := sorted(path for path in root.glob(_DUMPS) if "-index" not in path.name):
        return found
    raise FileNotFoundError(f"no {_DUMPS} in {root}")


def listed(status: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """Sizes in bytes and SHA-1 of the parts of a dump, by its `dumpstatus.json`.

    Raises:
        ValueError: it is none, or tells that the dump is not finished.
    """
    try:
        job = status["jobs"]["articlesmultistreamdump"]
        if job["status"] != "done":
            raise ValueError(f"the dump is {job['status']}, not done")
        return {
            name: (int(fact["size"]), str(fact["sha1"]))
            for name, fact in sorted(job["files"].items())
            if ".xml" in name and "/" not in name
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no list of the files of a dump: {error!r}") from None


def entries(root: Path) -> Iterator[_Stream]:
    """The bz2 streams of a multistream dump, of a hundred pages each; a plain dump is one."""
    for path in files(root):
        starts = _starts(path) if "multistream" in path.name else [0]
        stops = [*starts[1:], path.stat().st_size]
        for start, stop in zip(starts, stops, strict=True):
            yield _Stream(path, start, stop, last=stop == stops[-1])


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Articles with prose in them."""
    return {"articles": sharded.rows("train", "val")}


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Stream], Iterator[TextRecord | Rejected]]]:
    """Articles in dump order, keyed by page id."""
    yield _read


def _read(entry: _Stream) -> Iterator[TextRecord | Rejected]:
    """Raises UserError for a dump that is cut short or damaged."""
    try:
        for page in _pages(entry):
            yield from _record({_local(child): child for child in page})
    except (ElementTree.ParseError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{entry.path}: damaged dump near byte {entry.start}: {error}") from None


def _record(page: dict[str, ElementTree.Element]) -> Iterator[TextRecord | Rejected]:
    number = page["id"].text
    if page["ns"].text != "0":
        yield Rejected(number, "not an article")
    elif "redirect" in page:
        yield Rejected(number, "redirect")
    else:
        text = {_local(child): child.text for child in page["revision"]}.get("text") or ""
        try:
            lines = paragraphs(text)
        except (ParserError, RecursionError):
            yield Rejected(number, "wikitext that cannot be parsed")
        else:
            yield from document(
                number,
                "train",
                (found for line in lines for found in sentence_splitter.split(line)),
            )


def paragraphs(wikitext: str) -> list[str]:
    """The prose of an article, a paragraph each: no markup, headings, tables, references, pictures,
    back matter."""
    kept, skipping = [], False
    for node in mwparserfromhell.parse(wikitext, skip_style_tags=True).nodes:
        if isinstance(node, Heading):
            skipping = node.title.strip_code().strip().lower() in _BACK_MATTER
            kept.append("\n")
        elif not skipping:
            kept.append(_plain(node))
    lines = (tidy(line.lstrip(_LIST_MARKS)) for line in _STYLE.sub("", "".join(kept)).splitlines())
    return [line for line in lines if len(line.split()) >= _WORDS and line[0] not in "|!{"]


def _starts(path: Path) -> list[int]:
    """Where bz2 streams start: they do so on whole bytes, with ten known ones that data equal by
    chance once in 2^77.

    So the dump's own index of streams is not needed.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if starts := [found.start() for found in _MAGIC.finditer(data)]:
                return starts
    except ValueError:  # of an empty file
        pass
    raise UserError(f"{path}: not a bz2 file")


def _pages(entry: _Stream) -> Iterator[ElementTree.Element]:
    """The page elements. Tags are matched by local name, as the namespace changes over the years.

    The first stream opens the document and the last one closes it; in between there are pages
    without a root.
    """
    parser = ElementTree.XMLPullParser(("start", "end"))
    if entry.start:
        parser.feed(b"<mediawiki>")
    root, depth, waiting = None, 0, 0
    for data in _inflated(entry):
        parser.feed(data)
        if (waiting := waiting + len(data)) > _LARGEST:
            raise ValueError(f"a page of more than {_LARGEST} bytes")
        for event, element in parser.read_events():
            root = element if root is None else root
            depth += 1 if event == "start" else -1
            if event == "end" and _local(element) == "page":
                yield element
                root.clear()
                waiting = 0
    if entry.last:
        parser.close()
    elif depth > 1:
        raise ValueError("a page without its end")


class _Part:
    """The next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def _inflated(entry: _Stream) -> Iterator[bytes]:
    """The decoded bytes. Raises EOFError where a stream is cut short."""
    with open(entry.path, "rb") as file:
        file.seek(entry.start)
        stream = bz2.BZ2File(_Part(file, entry.stop - entry.start))
        while data := stream.read(_CHUNK):
            yield data


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _plain(node: Node) -> str:
    """What a reader sees of a node; templates, comments and arguments leave nothing."""
    if isinstance(node, Text):
        return node.value
    if isinstance(node, HTMLEntity):
        return node.normalize() or ""
    if isinstance(node, Wikilink):
        return _link(node)
    if isinstance(node, ExternalLink):
        return _inner(node.title)
    if isinstance(node, Tag):
        name = str(node.tag).strip().lower()
        return "" if name in _DROPPED_TAGS else "\n" if name == "br" else _inner(node.contents)
    return ""


def _inner(code: Wikicode | None) -> str:
    return "" if code is None else "".join(map(_plain, code.nodes))


def _link(node: Wikilink) -> str:
    prefix = str(node.title).partition(":")[0].strip().lower() if ":" in node.title else ""
    if prefix in _DROPPED_LINKS or (node.text is None and _LANGUAGE.fullmatch(prefix)):
        return ""
    return _inner(node.title if node.text is None else node.text)
