"""What the URLs of one file gave, noted as it comes, and put into list order when all have
answered.

A note is appended with one call, so that `kill -9` costs no more than the note at work. A checksum
tells where the notes end that the disk has whole. Neither pictures nor captions of a finished URL
stay in memory.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.utils import files

FETCHED = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # "ok", or why there is no picture
        pa.field("digest", pa.uint64()),  # of the picture: the first 8 bytes of its SHA-256
        pa.field("image", pa.binary()),  # as it came, or reduced; null where the status is not "ok"
        pa.field("caption", pa.string(), nullable=False),  # as in the list
    ]
)
_COMPRESSION = {
    "key": "zstd",
    "url": "zstd",
    "status": "zstd",
    "digest": "none",
    "image": "none",
    "caption": "zstd",
}
_GROUP = 256  # rows of a row group, or
_GROUP_BYTES = 16 << 20  # of pictures
_HEAD = struct.Struct("<III")  # CRC-32 of what follows, bytes of the facts, bytes of the picture


@dataclass(frozen=True)
class Fact:
    """What is known of a URL, but for its picture."""

    row: int  # in the file, from 0
    key: str
    url: str
    status: str
    digest: int | None
    caption: str


@dataclass(frozen=True)
class _Place:
    """Where a note is in its file, bytes."""

    start: int
    facts: int
    picture: int


class FetchLog:
    """The notes for the Parquet file `path`, beside it under a hidden name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._notes = path.with_name(f".{path.name}.log")
        self.found = self._recovered()  # row -> status, of an earlier run
        self._file = open(self._notes, "ab", buffering=0)

    def add(self, fact: Fact, picture: bytes | None) -> None:
        """Note what a URL gave."""
        facts, body = json.dumps(astuple(fact)).encode(), picture or b""
        head = _HEAD.pack(zlib.crc32(body, zlib.crc32(facts)), len(facts), len(body))
        self._file.write(head + facts + body)

    def finish(self) -> None:
        """Write the Parquet file, rows in list order; of a row that was noted twice the last note
        counts."""
        self._file.close()
        with open(self._notes, "rb") as notes, files.replacing(self.path) as temporary:
            places = {fact.row: place for place, fact in _read(notes)}
            with pq.ParquetWriter(
                temporary,
                FETCHED,
                compression=_COMPRESSION,
                use_dictionary=["status"],
                write_statistics=False,
            ) as writer:
                for group in _groups([places[row] for row in sorted(places)]):
                    writer.write_table(_table(notes, group), row_group_size=len(group))
        self._notes.unlink()

    def _recovered(self) -> dict[int, str]:
        """Read the notes of an earlier run, and cut off what is not whole."""
        if not self._notes.exists():
            return {}
        found, end = {}, 0
        with open(self._notes, "r+b") as notes:
            for place, fact in _read(notes):
                found[fact.row], end = (
                    fact.status,
                    place.start + _HEAD.size + place.facts + place.picture,
                )
            notes.truncate(end)
        return found


def remove_notes(path: Path) -> None:
    """Those of a file that is finished: the run was killed before it could do that."""
    path.with_name(f".{path.name}.log").unlink(missing_ok=True)


def _read(notes: BinaryIO) -> Iterator[tuple[_Place, Fact]]:
    """All whole notes, one picture in memory at a time."""
    while len(head := notes.read(_HEAD.size)) == _HEAD.size:
        checksum, length, size = _HEAD.unpack(head)
        facts, body = notes.read(length), notes.read(size)
        if not facts or len(body) < size or zlib.crc32(body, zlib.crc32(facts)) != checksum:
            return
        yield (
            _Place(notes.tell() - _HEAD.size - length - size, length, size),
            Fact(*json.loads(facts)),
        )


def _groups(places: list[_Place]) -> Iterator[list[_Place]]:
    group: list[_Place] = []
    size = 0
    for place in places:
        group.append(place)
        size += place.picture
        if len(group) == _GROUP or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _table(notes: BinaryIO, group: list[_Place]) -> pa.Table:
    rows = []
    for place in group:
        notes.seek(place.start + _HEAD.size)
        fact = Fact(*json.loads(notes.read(place.facts)))
        rows.append(
            (
                fact.key,
                fact.url,
                fact.status,
                fact.digest,
                notes.read(place.picture) or None,
                fact.caption,
            )
        )
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, FETCHED, strict=True)],
        schema=FETCHED,
    )
