"""A table as Markdown and CSV, the same bytes every time."""

import csv
from io import StringIO
from pathlib import Path

from pipeline.reporting.tables import Table, TableColumn, TableRow
from pipeline.utils import files

DASH = "–"


def write(table: Table, stem: Path) -> None:
    """Write `<stem>.md` and `<stem>.csv`."""
    for suffix, text in ((".md", markdown(table)), (".csv", comma_separated(table))):
        with files.replacing(stem.with_suffix(suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")


def markdown(table: Table) -> str:
    """A Markdown table, aligned for the terminal; the group stands in each heading, since Markdown
    has no second heading line."""
    headings = [table.head]
    for column in table.columns:
        headings.append(f"{column.group} {column.name}")
    rows = [headings]
    for section in table.sections:
        rows.append([f"*{section.title}*"] + [""] * len(table.columns))
        for row in section.rows:
            rows.append([row.label, *texts(row, table.columns)])
    return "\n".join([f"**{table.title}**", "", aligned(rows), "", table.note, ""])


def aligned(rows: list[list[str]]) -> str:
    """Rows of cells, the first row the headings, as a Markdown table that is also aligned as plain
    text: labels to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0]]
    for width in widths[1:]:
        rule.append("-" * (width - 1) + ":")
    lines = [_pipes(row, widths) for row in (rows[0], rule, *rows[1:])]
    return "\n".join(lines)


def comma_separated(table: Table) -> str:
    """CSV with one row per table row and four decimals; a cell without a number is empty."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["section", table.head.lower(), *(column.key for column in table.columns)])
    for section in table.sections:
        for row in section.rows:
            cells = ["" if cell is None else round(cell, 4) for cell in row.cells]
            writer.writerow([section.title, row.label, *cells])
    return buffer.getvalue()


def texts(row: TableRow, columns: list[TableColumn]) -> list[str]:
    """The cells of a row with the decimals of their columns, a dash where there is no number."""
    both = zip(row.cells, columns, strict=True)
    return [number(cell, column.digits) for cell, column in both]


def number(value: float | None, digits: int = 1) -> str:
    """A number with so many decimals; a dash where there is none."""
    return DASH if value is None else f"{value:z,.{digits}f}"


def _pipes(cells: list[str], widths: list[int]) -> str:
    padded = [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]
    return f"| {' | '.join(padded)} |"
