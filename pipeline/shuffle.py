"""Rows in an order that mixes them well and depends on nothing but their keys, in bounded memory."""

import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import seeds

Row = dict[str, Any]
_BUCKETS = 256  # by the first bits of the hash: sorted one after the other they are sorted as a whole
_MEMORY = 1 << 30  # bytes of rows that wait before all are spilled to disk


def shuffled(rows: Iterable[tuple[str, Row]], folder: Path,
             memory: int = _MEMORY) -> Iterator[tuple[str, Iterator[Row]]]:
    """Split names in sorted order, each with its rows sorted by a hash of `row["key"]`.

    Rows of equal key keep their order. What does not fit into `memory` waits in temporary files in `folder`, whose
    number and size do not change the result. Take the rows of a split before asking for the next split.
    """
    with TemporaryDirectory(dir=folder, prefix=".shuffle-") as place:
        buckets = _deal(rows, Path(place), memory)
        for split in sorted({split for split, _ in buckets}):
            yield split, _sorted(split, buckets, Path(place))


def share(key: str, purpose: str) -> float:
    """A number in [0, 1) that depends on the key alone: for setting aside a share of the keys."""
    return seeds.key(purpose, key) / 2**128


def _deal(rows: Iterable[tuple[str, Row]], place: Path,
          memory: int) -> dict[tuple[str, int], list[tuple[int, Row]]]:
    buckets: dict[tuple[str, int], list[tuple[int, Row]]] = defaultdict(list)
    waiting = 0
    for split, row in rows:
        order = seeds.key("row order", row["key"])
        buckets[split, order * _BUCKETS >> 128].append((order, row))
        waiting += _size(row)
        if waiting > memory:
            _spill(buckets, place)
            waiting = 0
    return buckets


def _spill(buckets: dict[tuple[str, int], list[tuple[int, Row]]], place: Path) -> None:
    for (split, bucket), rows in buckets.items():
        with open(place / f"{split}-{bucket}", "ab") as file:
            pickle.dump(rows, file)
        rows.clear()


def _sorted(split: str, buckets: dict[tuple[str, int], list[tuple[int, Row]]], place: Path) -> Iterator[Row]:
    for bucket in range(_BUCKETS):
        rows = [*_spilled(place / f"{split}-{bucket}"), *buckets.get((split, bucket), ())]
        for _, row in sorted(rows, key=lambda item: (item[0], item[1]["key"])):
            yield row


def _spilled(path: Path) -> Iterator[tuple[int, Row]]:
    if not path.exists():
        return
    with open(path, "rb") as file:
        while file.peek(1):
            yield from pickle.load(file)


def _size(value: Any) -> int:
    """Bytes of a row, roughly."""
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    return len(value) if isinstance(value, (str, bytes)) else 8
