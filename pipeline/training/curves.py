"""Training curves: a crash-safe JSONL file while a run lasts, two CSV files once it is published.

`dvc plots` and editors show the CSV files; a run in progress appends to the JSONL file, where a
line cut off by a crash is recognized by its missing newline.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pipeline.errors import UserError
from pipeline.utils import files

CurveKind = Literal["train", "validation"]
JSONL = "curve.jsonl"  # in the work folder


class CurveRow(NamedTuple):
    """Metrics at a step."""

    step: int
    kind: CurveKind
    values: dict[str, float]


def read_jsonl(path: Path) -> list[CurveRow]:
    """The rows of a JSONL curve, none if there is no file; a last line cut off by a crash is
    dropped.

    Raises:
        UserError: another line is damaged.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            rows.append(CurveRow(**json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            raise UserError(f"{path}: line {number} is damaged") from None
    return rows


def write_jsonl(path: Path, rows: Sequence[CurveRow]) -> None:
    """Replace a JSONL curve."""
    with files.replacing(path) as temporary:
        temporary.write_text("".join(map(_jsonl_line, rows)), encoding="utf-8")


def append_jsonl(path: Path, row: CurveRow) -> None:
    """Append a row to a JSONL curve."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(_jsonl_line(row))


def publish(rows: Sequence[CurveRow], folder: Path) -> None:
    """Write `train.csv` and `validation.csv` into a folder.

    Columns are `step` and every value that a row has, in order of first appearance; a cell is empty
    where its row lacks the value. Without rows the header `step` is all there is.
    """
    for kind in get_args(CurveKind):
        _write_csv(folder / f"{kind}.csv", [row for row in rows if row.kind == kind])


def read_published(folder: Path) -> list[CurveRow]:
    """The rows that `publish` wrote: those of training, then those of validation."""
    rows = []
    for kind in get_args(CurveKind):
        with open(folder / f"{kind}.csv", encoding="utf-8", newline="") as file:
            for cells in csv.DictReader(file):
                step = int(cells.pop("step"))
                values = {name: float(cell) for name, cell in cells.items() if cell}
                rows.append(CurveRow(step, kind, values))
    return rows


def _jsonl_line(row: CurveRow) -> str:
    return json.dumps(row._asdict()) + "\n"


def _write_csv(path: Path, rows: Sequence[CurveRow]) -> None:
    names = dict.fromkeys(name for row in rows for name in row.values)
    with files.replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", *names])
        for row in rows:
            cells = [repr(row.values[name]) if name in row.values else "" for name in names]
            writer.writerow([row.step, *cells])
