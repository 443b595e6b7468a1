"""Shards: Parquet files with small row groups, and the `index.json` that tells what is where
without opening them.

Damage is noticed when a row group is read: pages have checksums, and the index has that of the
footer.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
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

# For every Parquet file that is written.
CHECKED = {"write_page_checksum": True}
_TAIL = 8  # bytes: the footer's length, and PAR1

ShardRow = dict[str, Any]  # values by column


class RowGroup(NamedTuple):
    """Where a row group is, and how much is in it."""

    file: Path
    group: int  # index within the file
    rows: int
    # (image, caption or question) pairs, or rows where there are no such lists
    samples: int
    footer: str  # SHA-256 of the file's footer


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
    """Write one file and return its entry for `write_index`: name, checksums, and of each row group
    the numbers of rows and of samples."""
    groups = []
    with files.replacing(path) as temporary:
        compression = _compression(schema)
        with pq.ParquetWriter(temporary, schema, compression=compression, **CHECKED) as writer:
            for group in _batches(rows, rows_per_group):
                writer.write_table(pa.Table.from_pylist(group, schema), row_group_size=len(group))
                groups.append([len(group), sum(map(_samples, group))])
        sums = checksums(temporary)
    return {"name": path.name, "groups": groups, **sums}


def checksums(path: Path) -> dict[str, str]:
    """SHA-256 of a file, `sha256`, and of its footer, `footer`, for its entry in the index."""
    with pa.memory_map(str(path)) as source:
        return {"sha256": files.sha256(path), "footer": _footer(source)}


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
        UserError: the folder has no such split, or no index that can be read.
    """
    splits = _splits(folder)
    if split not in splits:
        known = ", ".join(sorted(splits)) or "nothing, as its origin is none"
        raise UserError(f"{folder / 'index.json'}: no split {split!r} (has: {known})")
    return splits[split]


def has_split(folder: Path, split: str) -> bool:
    """Whether there is such a split. Raises UserError where there is no index that can be read."""
    return split in _splits(folder)


def num_samples(folder: Path, split: str) -> int:
    """Of a split. Raises as `row_groups`."""
    return sum(group.samples for group in row_groups(folder, split))


def _splits(folder: Path) -> dict[str, list[RowGroup]]:
    """Row groups by split."""
    path = folder / "index.json"
    index = files.read_json(path)
    try:
        return {
            name: _row_groups(folder, facts["files"]) for name, facts in index["splits"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UserError(
            f"{path}: not an index of shards of this version; run the stage that makes it again"
        ) from None


def _row_groups(folder: Path, entries: Sequence[dict[str, Any]]) -> list[RowGroup]:
    groups = []
    for entry in entries:
        files.check_regular(folder / entry["name"])
        for number, (rows, samples) in enumerate(entry["groups"]):
            group = RowGroup(folder / entry["name"], number, rows, samples, entry["footer"])
            groups.append(group)
    return groups


def file_groups(folder: Path, name: str) -> list[RowGroup]:
    """The row groups of one file of the folder."""
    groups = row_groups(folder, name.rpartition("-")[0])
    return [group for group in groups if group.file.name == name]


def read_group(group: RowGroup, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one row group.

    Raises:
        UserError: the file is damaged.
    """
    part = f"row group {group.group}: "
    with whole(group.file, part), pa.memory_map(str(group.file)) as source:
        if _footer(source) != group.footer:
            raise _damaged(group.file, f"{part}footer")
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            table = file.read_row_group(
                group.group, columns=list(columns) if columns else None, use_threads=False
            )
    if len(table) != group.rows:
        raise _damaged(group.file, f"{part}{len(table)} rows in place of {group.rows}")
    return table


@contextmanager
def whole(path: Path, part: str = "") -> Iterator[None]:
    """Errors of reading a Parquet file, or the named part of it, in this block name the file.

    Raises:
        UserError: the file is damaged.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None):  # of the machine, not of the content
            raise
        raise _damaged(path, f"{part}{error}") from None


def _footer(source: pa.NativeFile) -> str:
    """SHA-256 of what stands at a file's end, "" where that is no footer."""
    size = source.size()
    tail = source.read_at(min(_TAIL, size), max(size - _TAIL, 0))
    length = _TAIL + int.from_bytes(tail[:4], "little")
    if length > size:
        return ""
    return hashlib.sha256(source.read_at(length, size - length)).hexdigest()


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: damaged ({reason}); `make verify` says how to get it back")


def columns(group: RowGroup) -> list[str]:
    """Names of the columns of a row group."""
    return pq.read_schema(group.file).names


def largest(folder: Path, split: str, column: str) -> int:
    """The largest number of a column, from the statistics of the row groups; -1 without rows."""
    most = -1
    for file in dict.fromkeys(group.file for group in row_groups(folder, split)):
        metadata = pq.read_metadata(file)
        position = metadata.schema.names.index(column)
        for group in range(metadata.num_row_groups):
            most = max(most, metadata.row_group(group).column(position).statistics.max)
    return most


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
