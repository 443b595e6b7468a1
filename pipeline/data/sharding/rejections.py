"""What was left out of the shards of a data set, by reason: for people who wonder where their
records are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.records import LONGEST, Rejected
from pipeline.data.shards import schema
from pipeline.utils import files

_SHOWN = 120  # characters of a key or reason


@dataclass(frozen=True)
class Reason:
    """How many records or texts were left out for reasons of one kind, and the first by key."""

    kind: str
    count: int
    example: str

    def __str__(self) -> str:
        return f"{self.count:,} {self.kind}, such as {self.example}"


def table(rejected: Sequence[Rejected]) -> pa.Table:
    """What was left out, as it is stored. Keys and reasons may hold what stood in damaged files: of
    such a one what cannot be printed is escaped, and no more than the start is kept."""
    rows = []
    for record in rejected:
        rows.append({"key": _printable(record.key), "reason": _printable(record.reason)})
    return pa.Table.from_pylist(rows, schema.REJECTED)


def kinds(reasons: pa.ChunkedArray) -> pa.ChunkedArray:
    """The kind of each reason, `kind` or `kind: detail`."""
    return pc.list_element(pc.split_pattern(reasons, ":"), 0)


def reasons(rejected: pa.Table) -> list[Reason]:
    """The most frequent kind first."""
    ordered = rejected.sort_by([("key", "ascending"), ("reason", "ascending")])
    grouped = (
        pa.table({"kind": kinds(ordered["reason"]), "row": pa.array(range(len(ordered)))})
        .group_by("kind")
        .aggregate([("row", "min"), ("row", "count")])
        .sort_by([("row_count", "descending"), ("kind", "ascending")])
    )
    found = []
    for group in grouped.to_pylist():
        first = ordered.slice(group["row_min"], 1).to_pylist()[0]
        detail = first["reason"].removeprefix(group["kind"])
        example = first["key"][:_SHOWN] + detail[:_SHOWN]
        found.append(Reason(group["kind"], group["row_count"], example))
    return found


def summary(source: str, folder: Path) -> str:
    """What was read of a data set, whose finished shards are in `folder`, and what became of it.
    Counted are captions and questions, or records that have no such texts."""
    splits = files.read_json(folder / "index.json")["splits"]
    kept = sum(split["samples"] for split in splits.values())
    rejected = pq.read_table(folder / "rejected.parquet")
    parts = []
    for name, split in splits.items():
        rows, samples = split["rows"], split["samples"]
        parts.append(f"{name} {samples:,}" + (f" of {rows:,} images" if rows != samples else ""))
    head = (
        f"{source}: {kept + len(rejected):,} read, {kept:,} kept ({', '.join(parts)}), "
        f"{len(rejected):,} rejected"
    )
    return "\n".join(
        [f"{head}{':' * bool(rejected)}", *(f"  {reason}" for reason in reasons(rejected))]
    )


def _printable(text: str) -> str:
    text = text[:LONGEST]
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
