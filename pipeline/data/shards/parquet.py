"""Shards: Parquet files with small row groups, and the `index.json` that tells what is where
without opening them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.utils import files

# Encoded images do not compress again; text and ids do.
_UNCOMPRESSED = ("image", "left", "right", "mask")
# Columns whose elements are samples.
_SAMPLES = ("captions", "questions")

ShardRow = dict[str, Any]  # values by column


class RowGroup(NamedTuple):
    """Where a row group is, and how much is in it."""

    file: Path
    group: int  # index within the file
    rows: int
    # (image, caption or question) pairs, or rows where there are no such lists
    samples: int


def write(
    folder: Path,
    split: str,
    rows: Iterable[ShardRow],
    schema: pa.Schema,
    *,
    rows_per_group: int,
    groups_per_file: int,
) -> list[dict[str, Any]]:
    """Write one split as `<split>-00000.parquet`, ... and return its entry for `write_index`."""
    rest = iter(rows)
    entries: list[dict[str, Any]] = []
    for row in rest:  # the first row of a file, if there is one
        part = chain([row], islice(rest, rows_per_group * groups_per_file - 1))
        entries.append(
            write_file(folder / file_name(split, len(entries)), part, schema, rows_per_group)
        )
    return entries


def file_name(split: str, number: int) -> str:
    """What the files of a split are called."""
    return f"{split}-{number:05d}.parquet"


def write_file(
    path: Path, rows: Iterable[ShardRow], schema: pa.Schema, rows_per_group: int
) -> dict[str, Any]:
    """Write one file and return its entry for `write_index`: name, checksum, and of each row group
    the numbers of rows and of samples."""
    groups = []
    with files.replacing(path) as temporary:
        with pq.ParquetWriter(temporary, schema, compression=_compression(schema)) as writer:
            for group in _batches(rows, rows_per_group):
                writer.write_table(pa.Table.from_pylist(group, schema), row_group_size=len(group))
                groups.append([len(group), sum(map(_samples, group))])
        checksum = files.sha256(temporary)
    return {"name": path.name, "groups": groups, "sha256": checksum}


def write_index(folder: Path, splits: dict[str, list[dict[str, Any]]], **facts: Any) -> None:
    """Write `index.json`: per split its files and the numbers of its rows and samples;
    `facts` (such as `rejected`) stand beside the splits."""
    described = {}
    for split, entries in splits.items():
        groups = list(chain.from_iterable(entry["groups"] for entry in entries))
        rows, samples = map(sum, zip(*groups, strict=True)) if groups else (0, 0)
        described[split] = {"files": entries, "rows": rows, "samples": samples}
    files.write_json(folder / "index.json", {"splits": described, **facts})


def row_groups(folder: Path, split: str) -> list[RowGroup]:
    """All row groups of a split, in file order.

    Raises:
        UserError: the folder has no such split.
    """
    splits = files.read_json(folder / "index.json")["splits"]
    if split not in splits:
        known = ", ".join(sorted(splits)) or "nothing, as its origin is none"
        raise UserError(f"{folder / 'index.json'}: no split {split!r} (has: {known})")
    groups = []
    for entry in splits[split]["files"]:
        file = folder / entry["name"]
        for number, (rows, samples) in enumerate(entry["groups"]):
            groups.append(RowGroup(file, number, rows, samples))
    return groups


def read_group(group: RowGroup, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one row group."""
    with pq.ParquetFile(group.file, memory_map=True) as file:
        return file.read_row_group(
            group.group, columns=list(columns) if columns else None, use_threads=False
        )


def columns(group: RowGroup) -> list[str]:
    """Names of the columns of a row group."""
    return pq.read_schema(group.file).names


def numbers(array: pa.Array) -> np.ndarray:
    """The values of an array without nulls, [len(array)] of its type, not copied. `to_numpy` would
    import pandas, which takes a second."""
    if pa.types.is_boolean(array.type):  # bits, of which NumPy has none
        return numbers(array.cast(pa.uint8())).view(bool)
    return np.from_dlpack(array)


def read_rows(folder: Path, split: str, columns: Sequence[str] | None = None) -> Iterator[ShardRow]:
    """All rows of a split in order, one row group in memory at a time."""
    for group in row_groups(folder, split):
        yield from read_group(group, columns).to_pylist()


def _compression(schema: pa.Schema) -> dict[str, str]:
    return {name: "none" if name in _UNCOMPRESSED else "zstd" for name in _leaves(schema)}


def _leaves(schema: pa.Schema) -> list[str]:
    """Column paths as Parquet names them: `captions` is stored as `captions.list.element`."""
    return [_leaf(field.name, field.type) for field in schema]


def _leaf(path: str, kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _leaf(f"{path}.list.element", kind.value_type)
    return path


def _samples(row: ShardRow) -> int:
    return max([len(row[column]) for column in _SAMPLES if column in row], default=0) or 1


def _batches(rows: Iterable[ShardRow], size: int) -> Iterator[list[ShardRow]]:
    rest = iter(rows)
    while batch := list(islice(rest, size)):
        yield batch
