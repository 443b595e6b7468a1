"""What the URLs of one file gave, noted as it comes, and put into list order when all have an
answer.

A note is appended with one call, so that `kill -9` costs no more than the note at work. A checksum
tells which notes the disk has whole; the URLs of others are requested again. Neither images nor captions of a finished URL
stay in memory.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.utils import files

FETCHED = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # "ok", or why there is no image
        pa.field("digest", pa.uint64()),  # of the image: the first 8 bytes of its SHA-256
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
_GROUP_BYTES = 16 << 20  # of images
_HEAD = struct.Struct("<III")  # CRC-32 of what follows, bytes of the result, bytes of the image


@dataclass(frozen=True)
class UrlResult:
    """What is known of a URL, but for its image."""

    row: int  # in the file, from 0
    key: str
    url: str
    status: str
    digest: int | None
    caption: str


@dataclass(frozen=True)
class _NoteSlice:
    """Where a note is in its file, in bytes: its start, and the lengths of result and image."""

    start: int
    result: int
    image: int

    @property
    def stop(self) -> int:
        return self.start + _HEAD.size + self.result + self.image


class Journal:
    """The notes for the Parquet file `path`, beside it under a hidden name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._notes = path.with_name(f".{path.name}.log")
        self.statuses = self._recovered()  # by row, of an earlier run
        self._file = open(self._notes, "ab", buffering=0)  # noqa: SIM115 (`finish` closes it)

    def add(self, result: UrlResult, image: bytes | None) -> None:
        """Note what a URL gave."""
        text, body = json.dumps(astuple(result)).encode(), image or b""
        head = _HEAD.pack(zlib.crc32(body, zlib.crc32(text)), len(text), len(body))
        files.write_all(self._file, head + text + body)

    def finish(self, rows: int) -> None:
        """Write the Parquet file of `rows` rows, in list order; of a row that was noted twice the
        last note counts.

        Raises:
            UserError: the disk does not give back what was noted.
        """
        self._file.close()
        with open(self._notes, "rb") as notes, files.replacing(self.path) as temporary:
            slices = {result.row: note for note, result in _read(notes)}
            if len(slices) != rows:
                raise UserError(
                    f"{self._notes}: damaged on the disk; run the stage again, what is missing is "
                    "requested again"
                )
            writer = pq.ParquetWriter(
                temporary,
                FETCHED,
                compression=_COMPRESSION,
                use_dictionary=["status"],
                write_statistics=False,
                **parquet.CHECKED,
            )
            with writer:
                for group in _groups([slices[row] for row in sorted(slices)]):
                    writer.write_table(_table(notes, group), row_group_size=len(group))
        self._notes.unlink()

    def _recovered(self) -> dict[int, str]:
        """Read the notes of an earlier run, and cut off an end that is not whole."""
        if not self._notes.exists():
            return {}
        statuses, end = {}, 0
        with open(self._notes, "r+b") as notes:
            for note, result in _read(notes):
                statuses[result.row] = result.status
                end = note.stop
            notes.truncate(end)
        return statuses


def remove_notes(path: Path) -> None:
    """Those of a file that is finished: the run was killed before it could do that."""
    path.with_name(f".{path.name}.log").unlink(missing_ok=True)


def _read(notes: BinaryIO) -> Iterator[tuple[_NoteSlice, UrlResult]]:
    """All whole notes, one image in memory at a time; a damaged one is passed over."""
    while len(head := notes.read(_HEAD.size)) == _HEAD.size:
        checksum, length, size = _HEAD.unpack(head)
        text, body = notes.read(length), notes.read(size)
        if not text or len(body) < size:
            return
        if zlib.crc32(body, zlib.crc32(text)) == checksum:
            start = notes.tell() - _HEAD.size - length - size
            yield _NoteSlice(start, length, size), UrlResult(*json.loads(text))


def _groups(slices: list[_NoteSlice]) -> Iterator[list[_NoteSlice]]:
    """The notes of one row group at a time."""
    group: list[_NoteSlice] = []
    size = 0
    for note in slices:
        group.append(note)
        size += note.image
        if len(group) == _GROUP or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _table(notes: BinaryIO, group: list[_NoteSlice]) -> pa.Table:
    """The rows of these notes."""
    columns: dict[str, list[Any]] = {name: [] for name in FETCHED.names}
    for note in group:
        notes.seek(note.start + _HEAD.size)
        result = UrlResult(*json.loads(notes.read(note.result)))
        columns["key"].append(result.key)
        columns["url"].append(result.url)
        columns["status"].append(result.status)
        columns["digest"].append(result.digest)
        columns["image"].append(notes.read(note.image) or None)
        columns["caption"].append(result.caption)
    return pa.Table.from_pydict(columns, FETCHED)
