"""Tables of the paper's numbers and ours: what stands in them. `render` gives them a form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dacite

from pipeline.config import yaml_reader
from pipeline.errors import UserError
from pipeline.utils import files

PAPER = Path(__file__).with_name("paper_results.yaml")
LAYOUT = Path(__file__).with_name("table_layout.yaml")


@dataclass(frozen=True)
class Column:
    """One column of percentages or counts."""

    key: str
    group: str  # heading over neighbouring columns
    name: str
    digits: int  # decimals shown


@dataclass(frozen=True)
class Row:
    """A labelled row; a cell is a number, or None where there is none."""

    label: str
    cells: list[float | None]


@dataclass(frozen=True)
class Section:
    """Rows under a heading."""

    title: str
    rows: list[Row]


@dataclass(frozen=True)
class Table:
    """A whole table; `note` says below it what a reader must know, `head` what the rows are."""

    title: str
    columns: list[Column]
    sections: list[Section]
    note: str
    head: str = "Model"


@dataclass(frozen=True)
class RowLayout:
    """A row of ours in one of the paper's tables, as table_layout.yaml describes it."""

    label: str
    cells: dict[str, str]  # column key -> `fine-tune/key.in.its.result`, a fraction in 0..1


@dataclass(frozen=True)
class TableParams:
    """Block `<scale>.table`."""

    section: str  # heading of our rows
    note: str  # how far our numbers compare with the paper's


def load_results(folder: Path) -> dict[str, Any]:
    """What the evaluations left, by item."""
    return {path.stem: files.read_json(path) for path in sorted(folder.glob("*.json"))}


def read_layout(path: Path = LAYOUT) -> dict[str, list[RowLayout]]:
    """Our rows of each of the paper's tables, by the table's key in paper_results.yaml.

    Raises:
        UserError: a row lacks its label or cells, or has another key.
    """
    tables = yaml_reader.parse(path.read_bytes())
    return {name: [_row_layout(path, name, row) for row in rows] for name, rows in tables.items()}


def _row_layout(path: Path, table: str, row: dict[str, Any]) -> RowLayout:
    try:
        return dacite.from_dict(RowLayout, row, dacite.Config(strict=True))
    except dacite.DaciteError as error:
        raise UserError(f"{path.name}: {table}: {error}") from None


def against_paper(
    name: str, layout: list[RowLayout], results: dict[str, Any], params: TableParams
) -> Table:
    """The paper's table `name` with our rows below.

    Raises:
        UserError: the layout names a table or column that the paper does not have, or a key that a
        result lacks.
    """
    printed = yaml_reader.parse(PAPER.read_bytes())
    if name not in printed:
        raise UserError(
            f"{LAYOUT.name}: {name}: the paper has no such table (has: {', '.join(printed)})"
        )
    columns = [Column(*column) for column in printed[name]["columns"]]
    theirs = [
        Section(title, [Row(label, cells) for label, cells in rows.items()])
        for title, rows in printed[name]["sections"].items()
    ]
    ours = Section(params.section, [_our_row(name, row, columns, results) for row in layout])
    return Table(printed[name]["title"], columns, [*theirs, ours], params.note)


def retrieval_recalls(results: dict[str, Any], params: TableParams) -> Table:
    """All recalls of our retrieval results, before and after reranking."""
    columns = [
        Column(f"{way}_r{cut}", group, f"R@{cut}", 1)
        for way, group in (("tr", "Text retrieval"), ("ir", "Image retrieval"))
        for cut in (1, 5, 10)
    ]
    kinds = (
        ("dual", "dual encoder"),
        ("reranked", "reranked by the fusion encoder"),
        ("chance", "chance"),
    )
    sections = [
        Section(
            f"{item} ({result['images']:,} pictures, {result['captions']:,} captions; pretraining: "
            f"{result['variant']})",
            [
                Row(label, [100 * result[kind][column.key] for column in columns])
                for kind, label in kinds
            ],
        )
        for item, result in results.items()
        if result["task"] == "retrieval"
    ]
    return Table("Retrieval in detail", columns, sections, params.note)


def _our_row(table: str, layout: RowLayout, columns: list[Column], results: dict[str, Any]) -> Row:
    if unknown := set(layout.cells) - {column.key for column in columns}:
        raise UserError(
            f"{LAYOUT.name}: {table}: {layout.label}: the table has no column {min(unknown)!r}"
        )
    return Row(layout.label, [_cell(layout.cells.get(column.key), results) for column in columns])


def _cell(place: str | None, results: dict[str, Any]) -> float | None:
    """The percentage at `item/a.b`; None where there is no such item's result (yet)."""
    if place is None:
        return None
    item, _, path = place.partition("/")
    if item not in results:
        return None
    value: Any = results[item]
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            raise UserError(f"{LAYOUT.name}: {place}: the result of {item} has no {path!r}")
        value = value[key]
    return 100 * value
