"""From a data set's official files to Parquet shards, with every record that is left out named and
explained.

The work goes in pieces, and a killed run continues with the pieces that it lacks. First each piece
of the official files becomes a sorted run of checked rows (`external_shuffle`), then each shard file
is assembled from its chunk of all runs. Neither the number of workers nor their pace changes the
result.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.limits import Count, Share, ShareBelowOne
from pipeline.data import datasets
from pipeline.data.records import ImageRecord, Record, Rejected
from pipeline.data.sharding import (
    coverage,
    external_shuffle,
    record_reader,
    rejections,
    shard_rows,
    validation_split,
)
from pipeline.data.sharding.external_shuffle import Span
from pipeline.data.shards import parquet
from pipeline.data.shards.parquet import ShardRow
from pipeline.data.transforms.image_decoding import BadImage
from pipeline.errors import UserError
from pipeline.orchestration import parallel_map
from pipeline.utils import files
from pipeline.utils.progress import Progress

_REASONS_SHOWN = 3


@dataclass(frozen=True)
class ShardParams:
    """rows_per_group, groups_per_file: sizes of the Parquet files; val_fraction: share of the
    training records, in [0, 1), that becomes the split `val` (chosen by a hash of the key; 0 where
    the data set has an official one)."""

    rows_per_group: Count
    groups_per_file: Count
    val_fraction: ShareBelowOne


@dataclass(frozen=True)
class ImageShardParams(ShardParams):
    """max_side: longer images are reduced to this, pixels; 0 keeps the distributed bytes."""

    max_side: int


@dataclass(frozen=True)
class PartShardParams(ImageShardParams):
    """For a part of a data set, on which models that were trained elsewhere are evaluated.
    as_stored: EXIF turns and transparency are left alone, as the code of those models does."""

    as_stored: bool


@dataclass(frozen=True)
class SharedShardParams(ImageShardParams):
    """For images that may occur in other data sets, too. decontaminate: leave out of the split
    `train` those that a downstream validation or test set holds."""

    decontaminate: bool


@dataclass(frozen=True)
class PretrainingShardParams(ImageShardParams):
    """For images that the paper pretrains on. min_coverage: the least share of its images and
    captions, in 0..1; with fewer the stage stops."""

    min_coverage: Share


@dataclass(frozen=True)
class PairShardParams(SharedShardParams, PretrainingShardParams):
    """For the paper's pairs, which may occur in other data sets, too."""


@dataclass(frozen=True)
class ShardJob:
    """What all workers know: the data set, the folder of its official files, the folder of the
    shards, the parameters, and the names of the images that may not be trained on
    (`decontamination`)."""

    source: str
    root: Path
    folder: Path
    params: ShardParams
    excluded: frozenset[str]

    @property
    def unfinished(self) -> Path:
        """Runs, and notes on the shard files that are whole."""
        return self.folder / ".unfinished"

    @property
    def kind(self) -> shard_rows.RowKind:
        """How records of this data set become rows."""
        return shard_rows.KINDS[datasets.load(self.source).KIND]

    def run(self, number: int) -> Path:
        """The run of a piece."""
        return self.unfinished / f"{number:06d}"


def params_class(source: str) -> type[ShardParams]:
    """The class of the blocks `shard.common` and `shard.SOURCE`."""
    module = datasets.load(source)
    if module.KIND == "text":
        return ShardParams
    if hasattr(module, "splits"):
        return PartShardParams
    if getattr(module, "SHARED", False):
        return PairShardParams if coverage.applies(source) else SharedShardParams
    return PretrainingShardParams if coverage.applies(source) else ImageShardParams


def shard(
    source: str,
    root: Path,
    folder: Path,
    params: ShardParams,
    *,
    workers: int = 1,
    excluded: frozenset[str] = frozenset(),
    expected: int | None = None,
) -> dict[str, int]:
    """Read the official files under `root`; write the shards, `rejected.parquet` and `index.json`
    into `folder`.

    Rows are in the order of a hash of their keys, so that classes and pages are mixed. What is in
    `folder` already must come from an interrupted call with the same files and parameters; it is
    continued. `excluded`: names of images that may not be trained on (see `decontamination`).
    `expected`: records, for the line of progress; None where nobody knows.
    Returns the rows of each split and the number of rejected records.

    Raises:
        UserError: an official file is missing or unreadable, or nothing at all is left.
    """
    job = ShardJob(source, root.resolve(), folder.resolve(), params, excluded)
    if not (folder / "index.json").exists():
        job.unfinished.mkdir(parents=True, exist_ok=True)
        runs = _write_runs(job, workers, expected)
        _finish(job, runs, _write_shards(job, runs, workers))
    shutil.rmtree(job.unfinished, ignore_errors=True)
    index = files.read_json(folder / "index.json")
    counts = {split: facts["rows"] for split, facts in index["splits"].items()}
    return counts | {"rejected": sum(index["rejected"].values())}


def write_none(source: str, folder: Path) -> dict[str, int]:
    """The shards of a data set that is left out: no split, so that who reads them says so."""
    files.fresh_directory(folder)
    parquet.write_index(folder, {}, kind=datasets.load(source).KIND, rejected={})
    return {"rejected": 0}


def _write_runs(job: ShardJob, workers: int, expected: int | None) -> list[Path]:
    """One run per piece. The note of their number spares the next try a look at the official
    files."""
    note = job.unfinished / "runs.json"
    if note.exists():
        return [job.run(number) for number in range(files.read_json(note))]
    runs: list[Path] = []

    def calls() -> Iterator[tuple[ShardJob, Path, record_reader.Piece]]:
        for piece in record_reader.pieces(job.source, job.root):
            runs.append(job.run(len(runs)))
            if _rejected_of(runs[-1]).exists():
                progress.skip(_num_records(runs[-1]))
            else:
                yield job, runs[-1], piece

    with Progress(job.source, expected, f"{job.kind.unit} read") as progress:
        parallel_map.run(
            _write_run, calls(), workers, done=lambda call: progress.advance(_num_records(call[1]))
        )
    if job.params.val_fraction:
        validation_split.ensure(runs, _rejected_of)
    files.write_json(note, len(runs))
    return runs


def _write_run(job: ShardJob, run: Path, piece: record_reader.Piece) -> None:
    """Check the records of a piece. The list of the rejected is written last: where it is, the run
    is whole."""
    rejected: list[Rejected] = []
    records = record_reader.records(job.source, job.root, piece)
    external_shuffle.write_run(run, _rows(job, records, rejected))
    with files.replacing(_rejected_of(run)) as temporary:
        pq.write_table(rejections.table(rejected), temporary, compression="zstd")


def _num_records(run: Path) -> int:
    """What a run is made of: its rows and the rejected."""
    return external_shuffle.count(run) + pq.read_metadata(_rejected_of(run)).num_rows


def _rejected_of(run: Path) -> Path:
    return run.with_name(f"{run.name}.rejected.parquet")


def _rows(
    job: ShardJob,
    records: Iterator[Record | Rejected],
    rejected: list[Rejected],
) -> Iterator[tuple[str, ShardRow]]:
    """Split and row of every usable record; the others are added to `rejected`."""
    make = job.kind.make
    form = shard_rows.ImageForm(
        getattr(job.params, "max_side", 0), getattr(job.params, "as_stored", False)
    )
    for record in records:
        if isinstance(record, Rejected):
            rejected.append(record)
        elif names := _excluded_names(record, job.excluded):
            reason = f"in a downstream validation or test set: {', '.join(names)}"
            rejected.append(Rejected(record.key, reason))
        else:
            try:
                yield _split(record, job.params.val_fraction), make(record, form)
            except BadImage as error:
                rejected.append(Rejected(record.key, str(error)))


def _excluded_names(record: Record, excluded: frozenset[str]) -> list[str]:
    """The names of a training image under which it may not be trained on."""
    if not isinstance(record, ImageRecord) or record.split != "train":
        return []
    return [name for name in record.names if name in excluded]


def _split(record: Record, val_fraction: float) -> str:
    """The official split, but for a share of the training records."""
    if record.split == "train" and validation_split.is_chosen(record.key, val_fraction):
        return "val"
    return record.split


def _write_shards(
    job: ShardJob, runs: Sequence[Path], workers: int
) -> dict[str, list[dict[str, Any]]]:
    """Write the files; returns the notes on them by split."""
    notes: dict[str, list[Path]] = {}
    rows_per_file = job.params.rows_per_group * job.params.groups_per_file

    def calls() -> Iterator[tuple[ShardJob, str, list[Span], Path]]:
        for split, chunks in external_shuffle.cut(runs, rows_per_file):
            notes[split] = []
            for number, spans in enumerate(chunks):
                name = parquet.file_name(split, number)
                note = job.unfinished / f"{name}.json"
                notes[split].append(note)
                if note.exists():
                    progress.skip(_num_rows(note))
                else:
                    yield job, name, spans, note

    total = sum(map(external_shuffle.count, runs))
    with Progress(job.source, total, f"{job.kind.unit} written") as progress:
        parallel_map.run(
            _write_shard, calls(), workers, done=lambda call: progress.advance(_num_rows(call[3]))
        )
    return {split: list(map(files.read_json, paths)) for split, paths in notes.items()}


def _write_shard(job: ShardJob, name: str, spans: Sequence[Span], note: Path) -> None:
    """Write a file, and a note that it is whole: its entry of the index, and the keys that occur
    again."""
    repeated: list[str] = []
    rows = _unique(external_shuffle.read(spans), repeated)
    entry = parquet.write_file(job.folder / name, rows, job.kind.columns, job.params.rows_per_group)
    files.write_json(note, {"entry": entry, "repeated": repeated})


def _num_rows(note: Path) -> int:
    """Rows that a shard file was made of, those of equal key included."""
    content = files.read_json(note)
    return sum(rows for rows, _ in content["entry"]["groups"]) + len(content["repeated"])


def _unique(rows: Iterable[ShardRow], repeated: list[str]) -> Iterator[ShardRow]:
    """Equal keys stand together; the first row stays, the keys of others go to `repeated`."""
    previous = None
    for row in rows:
        key = row["key"]
        if key == previous:
            repeated.append(key)
        else:
            previous = key
            yield row


def _finish(job: ShardJob, runs: Sequence[Path], notes: dict[str, list[dict[str, Any]]]) -> None:
    """Write the list of all rejected records and, last of all, the index."""
    rejected = _all_rejected(runs, notes)
    if not notes:
        raise UserError(f"{job.root}: no usable record of {job.source}{_why(rejected)}")
    with files.replacing(job.folder / "rejected.parquet") as temporary:
        ordered = rejected.sort_by([("key", "ascending"), ("reason", "ascending")])
        pq.write_table(ordered.combine_chunks(), temporary, compression="zstd")
    reasons = pc.value_counts(rejections.kinds(rejected["reason"]))
    entries = {}
    for split, group in notes.items():
        entries[split] = [note["entry"] for note in group]
    parquet.write_index(
        job.folder,
        entries,
        kind=datasets.load(job.source).KIND,
        rejected={count["values"]: count["counts"] for count in reasons.to_pylist()},
    )


def _why(rejected: pa.Table) -> str:
    """The most frequent reasons."""
    if not rejected:
        return ": there is none"
    shown = "; ".join(map(str, rejections.reasons(rejected)[:_REASONS_SHOWN]))
    return f", {len(rejected):,} rejected: {shown}"


def _all_rejected(runs: Sequence[Path], notes: dict[str, list[dict[str, Any]]]) -> pa.Table:
    """What the runs rejected, and the keys that occur more than once."""
    tables = [pq.read_table(_rejected_of(run)) for run in runs]
    repeated = []
    for note in chain.from_iterable(notes.values()):
        repeated += [Rejected(key, "duplicate key") for key in note["repeated"]]
    return pa.concat_tables([*tables, rejections.table(repeated)])
