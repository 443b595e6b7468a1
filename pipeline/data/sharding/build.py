"""From a source's official files to Parquet shards, with every record that is left out named and
explained.

The work goes in pieces, and a killed run goes on with the pieces that it lacks. First each piece of
the official files becomes a sorted run of checked rows (`shuffle`), then each shard file is put
together from its stretch of all runs. Neither the number of workers nor their pace shows in the
result.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data import datasets
from pipeline.data.records import ImageRecord, Record, Rejected
from pipeline.data.sharding import coverage, external_shuffle, record_reader, shard_rows
from pipeline.data.sharding.external_shuffle import Row, Span
from pipeline.data.shards import parquet, schema
from pipeline.data.transforms.image_validation import BadImage
from pipeline.errors import UserError
from pipeline.orchestration import parallel_map
from pipeline.utils import files


@dataclass(frozen=True)
class ShardParams:
    """rows_per_group, groups_per_file: sizes of the Parquet files; val_fraction: share of the training
    records, in [0, 1), that becomes the split `val` (chosen by a hash of the key; 0 where the
    source has an official one)."""

    rows_per_group: int
    groups_per_file: int
    val_fraction: float


@dataclass(frozen=True)
class ImageShardParams(ShardParams):
    """max_side: longer pictures are reduced to this, pixels; 0 keeps the distributed bytes."""

    max_side: int


@dataclass(frozen=True)
class PretrainingShardParams(ImageShardParams):
    """For images that VL-BEiT was pretrained on. min_coverage: the least share of the paper's
    images and captions, in 0..1, with fewer the stage stops."""

    min_coverage: float


@dataclass(frozen=True)
class PairShardParams(PretrainingShardParams):
    """For pictures that may occur in other data sets, too. decontaminate: leave out of the split
    `train` those that a downstream validation or test set holds."""

    decontaminate: bool


@dataclass(frozen=True)
class Job:
    """What all workers know: the source, where its official files are, the parameters, the folder
    of the result, and the names of the pictures that may not be trained on (`leakage`)."""

    source: str
    root: Path
    folder: Path
    params: ShardParams
    held_out: frozenset[str]

    @property
    def unfinished(self) -> Path:
        """Runs, and notes on the shard files that are whole."""
        return self.folder / ".unfinished"

    @property
    def kind(self) -> shard_rows.Kind:
        return shard_rows.KINDS[datasets.load(self.source).KIND]

    def run(self, number: int) -> Path:
        """The run of a piece."""
        return self.unfinished / f"{number:06d}"


def params_class(source: str) -> type[ShardParams]:
    """The class of the blocks `shard.common` and `shard.SOURCE`."""
    module = datasets.load(source)
    if module.KIND == "text":
        return ShardParams
    if getattr(module, "SHARED", False):
        return PairShardParams
    return PretrainingShardParams if coverage.applies(source) else ImageShardParams


def shard(
    source: str,
    root: Path,
    folder: Path,
    params: ShardParams,
    *,
    workers: int = 1,
    held_out: frozenset[str] = frozenset(),
) -> dict[str, int]:
    """Read the official files under `root`; write the shards, `rejected.parquet` and `index.json`
    into `folder`.

    Rows are in the order of a hash of their keys, so that classes and pages are mixed. What is in
    `folder` already must come from an interrupted call with the same files and parameters; it is
    gone on with. `held_out`: see `leakage`. Returns the rows of each split and the number of
    rejected records.

    Raises:
        UserError: an official file is missing or unreadable, or nothing at all is left.
    """
    job = Job(source, root.resolve(), folder.resolve(), params, held_out)
    if not (folder / "index.json").exists():
        job.unfinished.mkdir(parents=True, exist_ok=True)
        runs = _write_runs(job, workers)
        _finish(job, runs, _write_shards(job, runs, workers))
    shutil.rmtree(job.unfinished, ignore_errors=True)
    index = files.read_json(folder / "index.json")
    return {split: facts["rows"] for split, facts in index["splits"].items()} | {
        "rejected": sum(index["rejected"].values())
    }


def write_none(source: str, folder: Path) -> dict[str, int]:
    """The shards of a source that is done without: no split, so who reads them says so."""
    files.fresh_directory(folder)
    parquet.write_index(folder, {}, kind=datasets.load(source).KIND, rejected={})
    return {"rejected": 0}


def _write_runs(job: Job, workers: int) -> list[Path]:
    """One run per piece. The note of their number spares the next try a look at the official
    files."""
    note = job.unfinished / "runs.json"
    if note.exists():
        return [job.run(number) for number in range(files.read_json(note))]
    runs: list[Path] = []

    def calls() -> Iterator[tuple[Job, Path, record_reader.Piece]]:
        for piece in record_reader.pieces(job.source, job.root):
            runs.append(job.run(len(runs)))
            if not _rejected_of(runs[-1]).exists():
                yield job, runs[-1], piece

    parallel_map.run(_write_run, calls(), workers)
    files.write_json(note, len(runs))
    return runs


def _write_run(job: Job, run: Path, piece: record_reader.Piece) -> None:
    """Check the records of a piece. The list of the rejected is written last: where it is, the run
    is whole."""
    rejected: list[Rejected] = []
    external_shuffle.write_run(
        run, _rows(job, record_reader.records(job.source, job.root, piece), rejected)
    )
    with files.replacing(_rejected_of(run)) as temporary:
        pq.write_table(_table(rejected), temporary, compression="zstd")


def _rejected_of(run: Path) -> Path:
    return run.with_name(f"{run.name}.rejected.parquet")


def _rows(
    job: Job,
    records: Iterator[Record | Rejected],
    rejected: list[Rejected],
) -> Iterator[tuple[str, Row]]:
    """Split and row of every usable record; the others are added to `rejected`."""
    make, params = job.kind.make, job.params
    for record in records:
        if isinstance(record, Rejected):
            rejected.append(record)
        elif leaks := _leaks(record, job.held_out):
            rejected.append(
                Rejected(record.key, f"in a downstream validation or test set: {', '.join(leaks)}")
            )
        else:
            held_out = (
                record.split == "train"
                and external_shuffle.share(record.key, "val_fraction") < params.val_fraction
            )
            try:
                yield (
                    "val" if held_out else record.split,
                    make(record, getattr(params, "max_side", 0)),
                )
            except BadImage as error:
                rejected.append(Rejected(record.key, str(error)))


def _leaks(record: Record, held_out: frozenset[str]) -> list[str]:
    """The names of a training picture under which it is held out elsewhere."""
    if not isinstance(record, ImageRecord) or record.split != "train":
        return []
    return [name for name in record.names if name in held_out]


def _write_shards(job: Job, runs: Sequence[Path], workers: int) -> dict[str, list[dict[str, Any]]]:
    """Write the files; returns the notes on them by split."""
    notes: dict[str, list[Path]] = {}

    def calls() -> Iterator[tuple[Job, str, list[Span], Path]]:
        for split, stretches in external_shuffle.cut(
            runs, job.params.rows_per_group * job.params.groups_per_file
        ):
            notes[split] = []
            for number, spans in enumerate(stretches):
                name = parquet.file_name(split, number)
                notes[split].append(job.unfinished / f"{name}.json")
                if not notes[split][-1].exists():
                    yield job, name, spans, notes[split][-1]

    parallel_map.run(_write_shard, calls(), workers)
    return {split: [files.read_json(path) for path in paths] for split, paths in notes.items()}


def _write_shard(job: Job, name: str, spans: Sequence[Span], note: Path) -> None:
    """Write a file, and a note that it is whole: its entry of the index, and the keys that occur
    again."""
    repeated: list[str] = []
    rows = _unique(external_shuffle.read(spans), repeated)
    entry = parquet.write_file(job.folder / name, rows, job.kind.columns, job.params.rows_per_group)
    files.write_json(note, {"entry": entry, "repeated": repeated})


def _unique(rows: Sequence[Row], repeated: list[str]) -> Iterator[Row]:
    """Equal keys stand together; the first one stays."""
    previous = None
    for row in rows:
        if row["key"] == previous:
            repeated.append(previous)
        else:
            previous = row["key"]
            yield row


def _finish(job: Job, runs: Sequence[Path], notes: dict[str, list[dict[str, Any]]]) -> None:
    """Write the list of all rejected records and, last of all, the index."""
    repeated = [key for group in notes.values() for note in group for key in note["repeated"]]
    rejected = pa.concat_tables(
        [
            *(pq.read_table(_rejected_of(run)) for run in runs),
            _table([Rejected(key, "duplicate key") for key in repeated]),
        ]
    )
    if not notes:
        raise UserError(f"{job.root}: no usable record of {job.source} ({len(rejected)} rejected)")
    with files.replacing(job.folder / "rejected.parquet") as temporary:
        pq.write_table(
            rejected.sort_by([("key", "ascending"), ("reason", "ascending")]).combine_chunks(),
            temporary,
            compression="zstd",
        )
    reasons = pc.value_counts(pc.list_element(pc.split_pattern(rejected["reason"], ":"), 0))
    parquet.write_index(
        job.folder,
        {split: [note["entry"] for note in group] for split, group in notes.items()},
        kind=datasets.load(job.source).KIND,
        rejected={count["values"]: count["counts"] for count in reasons.to_pylist()},
    )


def _table(rejected: Sequence[Rejected]) -> pa.Table:
    """Names in damaged archives may be no UTF-8."""
    rows = [
        {name: text.encode("utf-8", "replace").decode() for name, text in asdict(record).items()}
        for record in rejected
    ]
    return pa.Table.from_pylist(rows, schema.REJECTED)
