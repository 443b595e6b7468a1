"""Official files as records, piece by piece: what a piece holds depends on the files alone, not on
who reads it."""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.data import datasets
from pipeline.data.records import Entry, Record, Rejected, key_fault
from pipeline.errors import UserError

# bytes; a piece's records are in memory together, so a worker needs two to three times as much
PIECE = 256 << 20
_ENTRY = 512  # bytes that an entry takes by itself

Piece = list[Entry | Rejected]


def pieces(source: str, root: Path) -> Iterator[Piece]:
    """The entries of a data set, PIECE bytes at a time, about; one piece is in memory at a time.

    Raises:
        UserError: an official file is missing or damaged.
    """
    with _user_errors(source, root):
        yield from _cut(datasets.load(source).entries(root))


def records(source: str, root: Path, piece: Piece) -> Iterator[Record | Rejected]:
    """The records of a piece, in order. Raises as `pieces`."""
    with _user_errors(source, root), datasets.load(source).open_reader(root) as read:
        for entry in piece:
            if isinstance(entry, Rejected):
                yield entry
            else:
                yield from map(_checked, read(entry))


def _checked(record: Record | Rejected) -> Record | Rejected:
    """A record whose key can stand in any file, or why it cannot be used."""
    if isinstance(record, Rejected) or (problem := key_fault(record.key)) is None:
        return record
    return Rejected(record.key, f"{problem} key")


def read(source: str, root: Path) -> Iterator[Record | Rejected]:
    """All records of a data set in this process, in the order of the official files."""
    for piece in pieces(source, root):
        yield from records(source, root, piece)


def _cut(entries: Iterable[Entry | Rejected]) -> Iterator[Piece]:
    piece: Piece = []
    size = 0
    for entry in entries:
        piece.append(entry)
        size += _ENTRY if isinstance(entry, Rejected) else _ENTRY + entry.size
        if size >= PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


@contextmanager
def _user_errors(source: str, root: Path) -> Iterator[None]:
    """Turns what goes wrong with a file into an error in one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{error}; run the download stage") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{root}: a damaged official file of {source}: {error}") from None
