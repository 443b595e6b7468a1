"""A table as Markdown and CSV, the same bytes every time."""

import csv
from io import StringIO
from pathlib import Path

from pipeline.reporting.tables import Column, Row, Table
from pipeline.utils import files

DASH = "–"


def write(table: Table, stem: Path) -> None:
    """Write `<stem>.md` and `<stem>.csv`."""
    for suffix, text in ((".md", markdown(table)), (".csv", comma_separated(table))):
        with files.replacing(stem.with_suffix(suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")


def markdown(table: Table) -> str:
    """Aligned for the terminal, and with the group in each heading, since Markdown has no second
    heading line."""
    rows = [[table.head, *(f"{column.group} {column.name}" for column in table.columns)]]
    for section in table.sections:
        rows.append([f"*{section.title}*", *("" for _ in table.columns)])
        rows += [[row.label, *texts(row, table.columns)] for row in section.rows]
    return "\n".join([f"**{table.title}**", "", aligned(rows), "", table.note, ""])


def aligned(rows: list[list[str]]) -> str:
    """Rows of cells, the first of which are headings, as a Markdown table that is aligned in the
    terminal too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_pipes(row, widths) for row in (rows[0], rule, *rows[1:]))


def comma_separated(table: Table) -> str:
    """One row per model (or what else `head` says), unrounded; a cell without a number is empty."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["section", table.head.lower(), *(column.key for column in table.columns)])
    for section in table.sections:
        writer.writerows(
            [
                section.title,
                row.label,
                *("" if cell is None else round(cell, 4) for cell in row.cells),
            ]
            for row in section.rows
        )
    return buffer.getvalue()


def texts(row: Row, columns: list[Column]) -> list[str]:
    """The cells as they are shown."""
    return [
        DASH if cell is None else f"{cell:,.{column.digits}f}"
        for cell, column in zip(row.cells, columns, strict=True)
    ]


def _pipes(cells: list[str], widths: list[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return f"| {' | '.join([cells[0].ljust(widths[0]), *numbers])} |"
