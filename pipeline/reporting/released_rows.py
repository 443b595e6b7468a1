"""Tables of what was measured of released weights, beside what is printed of them."""

from collections.abc import Iterable
from dataclasses import replace

from pipeline.reporting.released_results import Comparison, Evaluation
from pipeline.reporting.tables import Table, TableColumn, TableRow, TableSection

SECTION = "released weights, evaluated here"
MADE_UP = "made-up weights: a check of the path, not a result"
NOTE = (
    "Published: what is printed of a file of weights. Difference: measured here minus published, in "
    "points."
)
NO_SCORE = Comparison("", column=None, records=None, published=None, measured=None)


def add(name: str, table: Table, evaluations: Iterable[Evaluation]) -> Table:
    """The paper's table `name` with rows for released weights above ours: what is published, what
    was measured here, and the difference. Where two evaluations fill one cell, the first does.
    Made-up weights have no rows."""
    models: dict[str, dict[str | None, Comparison]] = {}  # by label and column
    notes = [table.note, NOTE]
    for evaluation in evaluations:
        if evaluation.file.table != name or evaluation.made_up:
            continue
        by_column = models.setdefault(evaluation.file.model, {})
        for comparison in evaluation.comparisons():
            by_column.setdefault(comparison.column, comparison)
        if evaluation.file.note:
            notes.append(f"{evaluation.name}: {evaluation.file.note}")
    if not models:
        return table
    rows: list[TableRow] = []
    for model, by_column in models.items():
        rows += _rows(model, [by_column.get(column.key, NO_SCORE) for column in table.columns])
    sections = [*table.sections[:-1], TableSection(SECTION, rows), table.sections[-1]]
    return replace(table, sections=sections, note="\n\n".join(notes))


def _rows(model: str, comparisons: list[Comparison]) -> list[TableRow]:
    published, measured, difference = [], [], []
    for comparison in comparisons:
        published.append(comparison.published)
        measured.append(comparison.measured)
        difference.append(comparison.difference)
    return [
        TableRow(f"{model}, published", published),
        TableRow(f"{model} ({SECTION})", measured),
        TableRow(f"{model}, difference", difference),
    ]


def summary(evaluations: Iterable[Evaluation]) -> Table:
    """All evaluations of released weights, each with its protocol below the table. Those of made-up
    weights stand apart, without scores."""
    columns = [
        TableColumn("records", "Records", "evaluated", 0),
        TableColumn("published", "Percent,", "published", 2),
        TableColumn("measured", "Percent,", "measured here", 2),
        TableColumn("difference", "Points,", "difference", 2),
    ]
    sections: dict[str, list[TableRow]] = {}
    made_up: list[TableRow] = []
    protocols = []
    for evaluation in evaluations:
        protocols.append(f"- {evaluation.description()}")
        rows = [_summary_row(evaluation.name, each) for each in evaluation.comparisons()]
        if evaluation.made_up:
            made_up.append(TableRow(evaluation.name, [rows[0].cells[0], None, None, None]))
        else:
            sections.setdefault(evaluation.file.model, []).extend(rows)
    if made_up:
        sections[MADE_UP] = made_up
    listed = [TableSection(title, rows) for title, rows in sections.items()]
    note = "\n".join([NOTE, "", *protocols])
    return Table("Released weights, evaluated here", columns, listed, note, head="Evaluation")


def _summary_row(name: str, comparison: Comparison) -> TableRow:
    numbers = comparison.published, comparison.measured, comparison.difference
    return TableRow(f"{name}, {comparison.name}", [comparison.records, *numbers])
