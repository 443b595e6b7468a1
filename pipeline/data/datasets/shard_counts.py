"""What became of the records of a data set, counted in its shards."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.data.shards import parquet
from pipeline.utils import files


class Sharded:
    """Finished shards in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, *splits: str) -> int:
        """Rows of these splits."""
        return sum(self._index["splits"].get(split, {"rows": 0})["rows"] for split in splits)

    def rejected(self, *reasons: str) -> int:
        """Records that were left out for these kinds of reasons, or for any."""
        counts = self._index["rejected"]
        return sum(counts.get(reason, 0) for reason in reasons or counts)

    def rejected_keys(self) -> list[str]:
        """Keys of the records, and `<key>#<number>` of their texts, that were left out."""
        return pq.read_table(self.folder / "rejected.parquet", columns=["key"])["key"].to_pylist()

    def column(self, name: str) -> Iterator[Any]:
        """The values of a column in all shards."""
        for split in sorted(self._index["splits"]):
            for row in parquet.read_rows(self.folder, split, [name]):
                yield row[name]

    @cached_property
    def _index(self) -> dict[str, Any]:
        return files.read_json(self.folder / "index.json")
