"""Reading what was fetched for a list of URLs: `fetched/<split>-<number>.parquet` (see
`pipeline.data.url_fetch.fetcher`)."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.data.datasets.formats import flickr_ids
from pipeline.data.records import SPLITS, ImageRecord, Rejected, captioned
from pipeline.data.shards import parquet
from pipeline.data.url_fetch import placeholders


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file of fetched images; size: bytes."""

    path: Path
    number: int
    size: int


def entries(root: Path) -> Iterator[RowGroup]:
    """In list order."""
    for path in sorted((root / "fetched").glob("*.parquet")):
        with parquet.whole(path), pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                yield RowGroup(path, number, file.metadata.row_group(number).total_byte_size)


def rows(root: Path) -> Counter[str]:
    """Rows of the list by split, whether or not their URL gave an image."""
    counts: Counter[str] = Counter()
    for path in (root / "fetched").glob("*.parquet"):
        with parquet.whole(path):
            counts[path.name.partition("-")[0]] += pq.read_metadata(path).num_rows
    return counts


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[RowGroup], Iterator[ImageRecord | Rejected]]]:
    """Records in list order. A URL that gave no image is rejected with its status as the reason."""
    yield partial(_read, placeholders.read(root / "fetched"))


def _read(placeholder_digests: frozenset[int], entry: RowGroup) -> Iterator[ImageRecord | Rejected]:
    split = SPLITS[entry.path.name.partition("-")[0]]
    with (
        parquet.whole(entry.path, f"row group {entry.number}: "),
        pq.ParquetFile(entry.path, page_checksum_verification=True) as file,
    ):
        rows = file.read_row_group(entry.number).to_pylist()
    for row in rows:
        if row["digest"] in placeholder_digests:
            yield Rejected(row["key"], placeholders.STATUS)
        elif row["status"] == "ok":
            yield from captioned(
                row["key"], split, row["image"], (row["caption"],), flickr_ids.names(row["url"])
            )
        else:
            yield Rejected(row["key"], row["status"])
