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

from pipeline.data.datasets.formats import sentence_splitter
from pipeline.data.datasets.formats.wikitext import prose
from pipeline.data.datasets.formats.wikitext.prose import NotProse
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import Rejected, TextRecord, document
from pipeline.errors import UserError

KIND = "text"
_DUMPS = "enwiki-*-pages-articles*.xml*.bz2"
_STREAM_MAGIC = re.compile(rb"BZh[1-9]1AY&SY")  # headers of a stream and of its first block
_CHUNK = 1 << 20  # bytes
_LARGEST = 64 << 20  # bytes of a page (choice: the longest real ones have two million)
_EXPANSION = 4  # decompressed bytes per byte of the dump, about


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
    if dumps := sorted(filter(_is_dump, root.glob(_DUMPS))):
        return dumps
    raise FileNotFoundError(f"no {_DUMPS} in {root}")


def _is_dump(path: Path) -> bool:
    return path.is_file() and "-index" not in path.name


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
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
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
    number, namespace = _content(children, "id"), _content(children, "ns")
    if not (number.isdecimal() and namespace):
        yield Rejected(number, "damaged record: a page without id or namespace")
    elif namespace != "0":
        yield Rejected(number, "not an article")
    elif "redirect" in children:
        yield Rejected(number, "redirect")
    else:
        revision = _children(children["revision"]) if "revision" in children else {}
        wikitext = (revision["text"].text or "") if "text" in revision else ""
        try:
            lines = prose.paragraphs(wikitext)
        except NotProse as error:
            yield Rejected(number, str(error))
        else:
            sentences = chain.from_iterable(map(sentence_splitter.split, lines))
            yield from document(number, "train", sentences)


def _content(children: dict[str, ElementTree.Element], name: str) -> str:
    """The text of a child, empty if there is none."""
    return (children[name].text or "").strip() if name in children else ""


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
