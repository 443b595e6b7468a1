"""Rows in an order that mixes them well and depends on nothing but their keys, in bounded memory.

The order is that of a hash of the key. Rows are written as sorted *runs*, by however many processes
and in whatever sequence; a *cut* tells which bytes of which run hold a given chunk of the whole
order, so that each chunk can be read by itself.
"""

import hashlib
import io
import pickle
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.data.shards.parquet import ShardRow
from pipeline.errors import UserError
from pipeline.utils import files, seeds

_MEMORY = 256 << 20  # bytes of rows that `shuffled` sorts at a time
_CHUNK = 4096  # rows that `shuffled` reads back at a time
# Before a row in its run: CRC-32 and length of its bytes.
_HEAD = struct.Struct("<IQ")
_DIGEST = 32  # bytes
# Of the index of a run, for each row: the first 64 bits of its hash, and its bytes in the run.
# Before them stands their SHA-256.
_INDEX = np.dtype([("hash", "<u8"), ("start", "<i8"), ("stop", "<i8")])


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `stop` of a run."""

    run: Path
    start: int
    stop: int


def share(key: str, purpose: str) -> float:
    """A number in [0, 1) that depends on the key alone: for setting aside a share of the keys."""
    return seeds.key(purpose, key) / 2**128


def write_run(run: Path, rows: Iterable[tuple[str, ShardRow]]) -> None:
    """Write rows, each with the name of its split, as one run: sorted, in memory as a whole.

    Rows of equal key keep their order. Beside the file stands its index.
    """
    items = []
    for split, row in rows:
        items.append((split, _order(row["key"]), pickle.dumps(row)))
    items.sort(key=lambda item: item[:2])
    entries: dict[str, list[tuple[int, int, int]]] = {}
    start = 0
    with files.replacing(run) as temporary, open(temporary, "wb") as file:
        for split, order, data in items:
            file.write(_HEAD.pack(zlib.crc32(data), len(data)))
            file.write(data)
            stop = start + _HEAD.size + len(data)
            entries.setdefault(split, []).append((order >> 64, start, stop))
            start = stop
    index = {split: np.array(group, _INDEX) for split, group in entries.items()}
    arrays = io.BytesIO()
    np.savez(arrays, allow_pickle=False, **index)
    with files.replacing(_index_path(run)) as temporary:
        temporary.write_bytes(hashlib.sha256(arrays.getbuffer()).digest() + arrays.getbuffer())


def splits(runs: Iterable[Path]) -> set[str]:
    """The splits that rows of some runs are of."""
    return set().union(*map(_load_index, runs))


def count(run: Path) -> int:
    """The rows of a run."""
    return sum(map(len, _load_index(run).values()))


def keys(run: Path, split: str) -> Iterator[str]:
    """The keys of the rows that a run has of a split."""
    return (row["key"] for name, row in _all_rows(run) if name == split)


def move(run: Path, key: str, split: str) -> None:
    """Write a run anew, with the rows of a key in another split."""
    rows = [(split if row["key"] == key else name, row) for name, row in _all_rows(run)]
    write_run(run, rows)


def cut(runs: Sequence[Path], rows: int) -> Iterator[tuple[str, Iterator[list[Span]]]]:
    """By split, in sorted order: chunks of `rows` distinct keys each, and where in the runs each
    chunk is.

    Takes 90 bytes of memory per row. The sequence of the runs decides which of two rows of equal
    key comes first.
    """
    indices = [_load_index(run) for run in runs]
    empty = np.empty(0, _INDEX)
    for split in sorted(splits(runs)):
        yield split, _chunks(runs, [index.get(split, empty) for index in indices], rows)


def read(spans: Iterable[Span]) -> list[ShardRow]:
    """The rows of a chunk in their order; rows of equal key stand together."""
    rows = chain.from_iterable(map(_load_rows, spans))
    return sorted(rows, key=lambda row: _order(row["key"]))


def shuffled(
    rows: Iterable[tuple[str, ShardRow]], folder: Path, memory: int = _MEMORY
) -> Iterator[tuple[str, Iterator[ShardRow]]]:
    """Split names in sorted order, each with its rows in their order.

    Meanwhile all rows stand in temporary files in `folder`; what is sorted at a time has about
    `memory` bytes. Take the rows of a split before asking for the next split.
    """
    with TemporaryDirectory(dir=folder, prefix=".shuffle-") as temporary:
        runs = []
        for number, portion in enumerate(_portions(rows, memory)):
            runs.append(Path(temporary, str(number)))
            write_run(runs[-1], portion)
        for split, chunks in cut(runs, _CHUNK):
            yield split, chain.from_iterable(map(read, chunks))


def _order(key: str) -> int:
    """128 bits that decide where a row stands."""
    return seeds.key("row order", key)


def _index_path(run: Path) -> Path:
    return run.with_name(f"{run.name}.index")


def _load_index(run: Path) -> dict[str, np.ndarray]:
    data = _index_path(run).read_bytes()
    digest, arrays = data[:_DIGEST], data[_DIGEST:]
    if hashlib.sha256(arrays).digest() != digest:
        raise _damaged(run)
    return dict(np.load(io.BytesIO(arrays)))


def _chunks(runs: Sequence[Path], indices: Sequence[np.ndarray], rows: int) -> Iterator[list[Span]]:
    """The chunks of one split; `indices` are those of its rows, by run."""
    firsts = np.unique(np.concatenate([index["hash"] for index in indices]))[::rows]
    bounds = [np.append(np.searchsorted(index["hash"], firsts), len(index)) for index in indices]
    for number in range(len(firsts)):
        spans = []
        for run, index, ends in zip(runs, indices, bounds, strict=True):
            first, end = ends[number], ends[number + 1]
            if first < end:
                spans.append(Span(run, int(index["start"][first]), int(index["stop"][end - 1])))
        yield spans


def _all_rows(run: Path) -> Iterator[tuple[str, ShardRow]]:
    """The rows of a run, each with the name of its split."""
    for split, index in _load_index(run).items():
        for row in _load_rows(Span(run, int(index["start"][0]), int(index["stop"][-1]))):
            yield split, row


def _load_rows(span: Span) -> Iterator[ShardRow]:
    with open(span.run, "rb") as file:
        file.seek(span.start)
        while file.tell() < span.stop:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise _damaged(span.run)
            checksum, size = _HEAD.unpack(head)
            data = file.read(min(size, span.stop - file.tell()))
            if zlib.crc32(data) != checksum:
                raise _damaged(span.run)
            yield pickle.loads(data)


def _damaged(run: Path) -> UserError:
    return UserError(
        f"{run}: damaged on the disk; remove the folder {run.parent} and run the stage again"
    )


def _portions(
    rows: Iterable[tuple[str, ShardRow]], memory: int
) -> Iterator[list[tuple[str, ShardRow]]]:
    """Rows of about `memory` bytes at a time."""
    portion: list[tuple[str, ShardRow]] = []
    size = 0
    for split, row in rows:
        portion.append((split, row))
        size += _size(row)
        if size > memory:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _size(value: Any) -> int:
    """Bytes of a row, roughly."""
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    return len(value) if isinstance(value, (str, bytes)) else 8
