"""From a source's official files to Parquet shards, with every record that is left out named and explained."""

import gzip
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import files, pictures, schema, shard_rows, shards, shuffle, sources
from pipeline.errors import UserError
from pipeline.shard_rows import Record, Row
from pipeline.sources.records import Rejected


@dataclass(frozen=True)
class ShardParams:
    """rows_per_group, groups_per_file: sizes of the Parquet files; holdout: share of the training records, in [0, 1),
    that becomes the split `val` (chosen by a hash of the key; 0 where the source has an official one)."""

    rows_per_group: int
    groups_per_file: int
    holdout: float


@dataclass(frozen=True)
class ImageShardParams(ShardParams):
    """max_side: longer pictures are reduced to this, pixels; 0 keeps the distributed bytes."""

    max_side: int


def params_class(source: str) -> type[ShardParams]:
    """The class of `<scale>.shard.<source>`."""
    return ShardParams if sources.load(source).KIND == "text" else ImageShardParams


def shard(source: str, root: Path, folder: Path, params: ShardParams) -> dict[str, int]:
    """Read the official files under `root`; write the shards, `rejected.parquet` and `index.json` into `folder`.

    Rows are in the order of a hash of their keys, so that classes and pages are mixed. Returns the rows of each split
    and the number of rejected records.

    Raises:
        UserError: an official file is missing or unreadable, or nothing at all is left.
    """
    name = sources.load(source).KIND
    kind = shard_rows.KINDS[name]
    files.fresh_directory(folder)
    rejected: list[Rejected] = []
    entries = {}
    for split, rows in shuffle.shuffled(_rows(_read(source, root), params, kind.make, rejected), folder):
        entries[split] = shards.write(folder, split, _unique(rows, rejected), kind.columns,
                                      rows_per_group=params.rows_per_group, groups_per_file=params.groups_per_file)
    if not entries:
        raise UserError(f"{root}: no usable record of {source} ({len(rejected)} rejected)")
    _write_rejected(folder, rejected)
    reasons = Counter(record.reason.partition(":")[0] for record in rejected)
    shards.write_index(folder, entries, kind=name, rejected=dict(reasons))
    splits = files.read_json(folder / "index.json")["splits"]
    return {split: facts["rows"] for split, facts in splits.items()} | {"rejected": len(rejected)}


def _read(source: str, root: Path) -> Iterator[Record | Rejected]:
    try:
        yield from sources.load(source).read(root)
    except FileNotFoundError as error:
        raise UserError(f"{error}; run the download stage") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{root}: a damaged official file of {source}: {error}") from None


def _rows(records: Iterable[Record | Rejected], params: ShardParams, make: Callable[[Any, int], Row],
          rejected: list[Rejected]) -> Iterator[tuple[str, Row]]:
    """Split and row of every usable record; the others are added to `rejected`."""
    for record in records:
        if isinstance(record, Rejected):
            rejected.append(record)
            continue
        held_out = record.split == "train" and shuffle.share(record.key, "holdout") < params.holdout
        split = "val" if held_out else record.split
        try:
            yield split, make(record, getattr(params, "max_side", 0))
        except pictures.BadPicture as error:
            rejected.append(Rejected(record.key, str(error)))


def _unique(rows: Iterable[Row], rejected: list[Rejected]) -> Iterator[Row]:
    """Equal keys stand together; the first one stays."""
    previous = None
    for row in rows:
        if row["key"] == previous:
            rejected.append(Rejected(previous, "duplicate key"))
            continue
        previous = row["key"]
        yield row


def _write_rejected(folder: Path, rejected: list[Rejected]) -> None:
    rows = [asdict(record) for record in sorted(rejected, key=lambda record: (record.key, record.reason))]
    pq.write_table(pa.Table.from_pylist(rows, schema.REJECTED), folder / "rejected.parquet", compression="zstd")
