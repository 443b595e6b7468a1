"""Reading what was fetched for a list of URLs: `fetched/<split>-<number>.parquet` (see `pipeline.fetch`)."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.sources.records import ImageRecord, Rejected, captioned

_ROWS = 256  # per batch: a few tens of megabytes of real pictures


def read(root: Path) -> Iterator[ImageRecord | Rejected]:
    """Rows in list order. A URL that gave no picture is rejected with its status as the reason."""
    for path in sorted((root / "fetched").glob("*.parquet")):
        split = path.name.partition("-")[0]
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS):
                for row in batch.to_pylist():
                    if row["status"] == "ok":
                        yield from captioned(row["key"], split, row["image"], (row["caption"],))
                    else:
                        yield Rejected(row["key"], row["status"])
