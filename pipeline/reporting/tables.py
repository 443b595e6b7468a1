"""Tables with the paper's numbers and ours. `render` writes them as Markdown and CSV."""

from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

import dacite

from pipeline.config import yaml_reader
from pipeline.errors import UserError
from pipeline.utils import files

PAPER = Path(__file__).with_name("paper_results.yaml")
LAYOUT = Path(__file__).with_name("table_layout.yaml")


@dataclass(frozen=True)
class TableColumn:
    """One column of percentages or counts."""

    key: str
    group: str  # heading over neighboring columns
    name: str  # heading of this column
    digits: int  # decimals shown

    @property
    def heading(self) -> str:
        """Both headings in one."""
        return f"{self.group} {self.name}".strip()


@dataclass(frozen=True)
class TableRow:
    """A labeled row; a cell is a number, or None where there is none."""

    label: str
    cells: list[float | None]


@dataclass(frozen=True)
class TableSection:
    """Rows under a heading."""

    title: str
    rows: list[TableRow]


@dataclass(frozen=True)
class Table:
    """A whole table. `note` is printed below it; `head` is the heading of the labels."""

    title: str
    columns: list[TableColumn]
    sections: list[TableSection]
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
    """The results of all evaluations in a folder, by fine-tune."""
    return {path.stem: files.read_json(path) for path in sorted(folder.glob("*.json"))}


def read_layout(path: Path = LAYOUT) -> dict[str, list[RowLayout]]:
    """Our rows of each of the paper's tables, by the table's key in paper_results.yaml.

    Raises:
        UserError: a row lacks its label or cells, or has another key.
    """
    layout: dict[str, list[RowLayout]] = {}
    for name, rows in yaml_reader.parse(path.read_bytes()).items():
        layout[name] = [_row_layout(path, name, row) for row in rows]
    return layout


def _row_layout(path: Path, table: str, row: dict[str, Any]) -> RowLayout:
    try:
        return dacite.from_dict(RowLayout, row, dacite.Config(strict=True))
    except dacite.DaciteError as error:
        raise UserError(f"{path.name}: {table}: {error}") from None


def against_paper(
    name: str, layout: list[RowLayout], results: dict[str, Any], params: TableParams
) -> Table:
    """The paper's table `name` with our rows below it, in percent.

    Raises:
        UserError: the layout names a table or column that the paper does not have, or a key that a
        result lacks.
    """
    printed = yaml_reader.parse(PAPER.read_bytes())
    if name not in printed:
        raise UserError(
            f"{LAYOUT.name}: {name}: the paper has no such table (has: {', '.join(printed)})"
        )
    columns = _columns(printed[name])
    sections = list(starmap(_printed_section, printed[name]["sections"].items()))
    rows = [_our_row(name, row, columns, results) for row in layout]
    sections.append(TableSection(params.section, rows))
    note = "\n".join([params.note, *_test_sets(layout, results)])
    return Table(printed[name]["title"], columns, sections, note)


def printed_columns(name: str) -> list[TableColumn]:
    """The columns of the paper's table `name`."""
    return _columns(yaml_reader.parse(PAPER.read_bytes())[name])


def _columns(printed: dict[str, Any]) -> list[TableColumn]:
    return list(starmap(TableColumn, printed["columns"]))


def _test_sets(layout: list[RowLayout], results: dict[str, Any]) -> list[str]:
    """How many images ours are retrieved from, which the heading says of the paper's."""
    sizes = {}
    for source in (source for row in layout for source in row.cells.values()):
        result = results.get(source.partition("/")[0], {})
        if result.get("task") == "retrieval":
            sizes[result["data"]] = f"{result['images']:,} images, {result['captions']:,} captions"
    return [f"Our test set of {data}: {size}." for data, size in sorted(sizes.items())]


def _printed_section(title: str, rows: dict[str, list[float | None]]) -> TableSection:
    return TableSection(title, list(starmap(TableRow, rows.items())))


def retrieval_recalls(results: dict[str, Any], params: TableParams) -> Table:
    """R@1, R@5 and R@10 of our retrieval results in percent, before and, where the model does, after
    reranking."""
    columns = []
    for direction, group in (("tr", "Text retrieval"), ("ir", "Image retrieval")):
        for k in (1, 5, 10):
            columns.append(TableColumn(f"{direction}_r{k}", group, f"R@{k}", 1))
    sections = []
    for name, result in results.items():
        if result["task"] == "retrieval":
            sections.append(_recall_section(name, result, columns))
    return Table("Retrieval in detail", columns, sections, params.note)


def _recall_section(name: str, result: dict[str, Any], columns: list[TableColumn]) -> TableSection:
    rows = []
    for key, label in (
        ("dual", "dual encoder"),
        ("reranked", "reranked by the fusion encoder"),
        ("chance", "chance"),
    ):
        if key not in result:
            continue
        cells: list[float | None] = []
        for column in columns:
            cells.append(100 * result[key][column.key])
        rows.append(TableRow(label, cells))
    weights = f"pretraining: {result['variant']}"
    if "released" in result:
        weights = f"released weights: {result['released']['file']}"
    title = f"{name} ({result['images']:,} images, {result['captions']:,} captions; {weights})"
    return TableSection(title, rows)


def _our_row(
    table: str, layout: RowLayout, columns: list[TableColumn], results: dict[str, Any]
) -> TableRow:
    sources, cells = dict(layout.cells), []
    for column in columns:
        cells.append(percentage(sources.pop(column.key, None), results))
    if sources:
        raise UserError(
            f"{LAYOUT.name}: {table}: {layout.label}: the table has no column {min(sources)!r}"
        )
    return TableRow(layout.label, cells)


def percentage(source: str | None, results: dict[str, Any]) -> float | None:
    """The percentage at `fine-tune/key.in.its.result`; None while there is no such result, or where
    the result says null: the answers to VQAv2's test questions are known to its server alone."""
    if source is None:
        return None
    name, _, path = source.partition("/")
    if name not in results:
        return None
    try:
        value = value_at(path, results[name])
    except KeyError:
        raise UserError(f"{LAYOUT.name}: {source}: the result of {name} has no {path!r}") from None
    return None if value is None else 100 * value


def value_at(path: str, result: dict[str, Any]) -> Any:
    """What stands at a dotted key of a result; None where a part of the way there is null.

    Raises:
        KeyError: there is no such key.
    """
    value: Any = result
    for key in path.split("."):
        if value is None:
            return None
        if not isinstance(value, dict):
            raise KeyError(path)
        value = value[key]
    return value
