"""Rows in an order that mixes them well and depends on nothing but their keys, in bounded memory.

The order is that of a hash of the key. Rows are written as sorted *runs*, by however many processes
and in whatever sequence; a *cut* tells which bytes of which run hold a given stretch of the whole
order, so that each stretch can be read by itself.
"""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.utils import files, seeds

Row = dict[str, Any]
_MEMORY = 256 << 20  # bytes of rows that `shuffled` sorts at a time
_STRETCH = 4096  # rows that `shuffled` reads back at a time
_INDEX = np.dtype(
    [("place", "<u8"), ("start", "<i8"), ("stop", "<i8")]
)  # first bits of the hash; bytes of the row


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `stop` of a run."""

    run: Path
    start: int
    stop: int


def share(key: str, purpose: str) -> float:
    """A number in [0, 1) that depends on the key alone: for setting aside a share of the keys."""
    return seeds.key(purpose, key) / 2**128


def write_run(run: Path, rows: Iterable[tuple[str, Row]]) -> None:
    """Write rows, given with the names of their splits, as one run: sorted, in memory as a whole.

    Rows of equal key keep their order. Beside the file stands its index.
    """
    items = sorted(
        ((split, _order(row["key"]), pickle.dumps(row)) for split, row in rows),
        key=lambda item: item[:2],
    )
    with files.replacing(run) as temporary, open(temporary, "wb") as file:
        file.writelines(data for _, _, data in items)
    index: dict[str, list[tuple[int, int, int]]] = {}
    start = 0
    for split, order, data in items:
        index.setdefault(split, []).append((order >> 64, start, start + len(data)))
        start += len(data)
    with files.replacing(_index(run)) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{split: np.array(entries, _INDEX) for split, entries in index.items()})


def cut(runs: Sequence[Path], rows: int) -> Iterator[tuple[str, Iterator[list[Span]]]]:
    """By split, in sorted order: stretches of `rows` distinct keys each, and where in the runs each
    stretch is.

    Takes 90 bytes of memory per row. The sequence of the runs decides which of two rows of equal
    key comes first.
    """
    indices = [_load(run) for run in runs]
    for split in sorted({split for index in indices for split in index}):
        yield (
            split,
            _stretches(runs, [index.get(split, np.empty(0, _INDEX)) for index in indices], rows),
        )


def read(spans: Iterable[Span]) -> list[Row]:
    """The rows of a stretch in their order; rows of equal key stand together."""
    rows = (row for span in spans for row in _load_rows(span))
    return sorted(rows, key=lambda row: _order(row["key"]))


def shuffled(
    rows: Iterable[tuple[str, Row]], folder: Path, memory: int = _MEMORY
) -> Iterator[tuple[str, Iterator[Row]]]:
    """Split names in sorted order, each with its rows in their order.

    Meanwhile all rows stand in temporary files in `folder`; what is sorted at a time has about
    `memory` bytes. Take the rows of a split before asking for the next split.
    """
    with TemporaryDirectory(dir=folder, prefix=".shuffle-") as place:
        runs = []
        for number, part in enumerate(_portions(rows, memory)):
            runs.append(Path(place, str(number)))
            write_run(runs[-1], part)
        for split, stretches in cut(runs, _STRETCH):
            yield split, chain.from_iterable(map(read, stretches))


def _order(key: str) -> int:
    return seeds.key("row order", key)


def _index(run: Path) -> Path:
    return run.with_name(f"{run.name}.npz")


def _load(run: Path) -> dict[str, np.ndarray]:
    with np.load(_index(run)) as arrays:
        return dict(arrays)


def _stretches(
    runs: Sequence[Path], indices: Sequence[np.ndarray], rows: int
) -> Iterator[list[Span]]:
    """Of one split; `indices` are those of its rows, by run."""
    firsts = np.unique(np.concatenate([index["place"] for index in indices]))[::rows]
    bounds = [np.append(np.searchsorted(index["place"], firsts), len(index)) for index in indices]
    for number in range(len(firsts)):
        yield [
            Span(run, int(index["start"][ends[number]]), int(index["stop"][ends[number + 1] - 1]))
            for run, index, ends in zip(runs, indices, bounds, strict=True)
            if ends[number] < ends[number + 1]
        ]


def _load_rows(span: Span) -> Iterator[Row]:
    with open(span.run, "rb") as file:
        file.seek(span.start)
        while file.tell() < span.stop:
            yield pickle.load(file)


def _portions(rows: Iterable[tuple[str, Row]], memory: int) -> Iterator[list[tuple[str, Row]]]:
    portion: list[tuple[str, Row]] = []
    held = 0
    for split, row in rows:
        portion.append((split, row))
        held += _size(row)
        if held > memory:
            yield portion
            portion, held = [], 0
    if portion:
        yield portion


def _size(value: Any) -> int:
    """Bytes of a row, roughly."""
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    return len(value) if isinstance(value, (str, bytes)) else 8
