"""A table as Markdown, CSV and PNG, the same bytes every time."""

import csv
from io import StringIO
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from pipeline.reporting.tables import Column, Row, Table
from pipeline.utils import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASH = "–"
_LABEL, _CELL, _LINE = (
    4.2,
    0.85,
    0.26,
)  # inches: width of the label column and of a cell, height of a line
_NOTE = 14  # characters per inch of the note


def write(table: Table, stem: Path) -> None:
    """Write `<stem>.md`, `<stem>.csv` and `<stem>.png`."""
    for suffix, text in ((".md", markdown(table)), (".csv", comma_separated(table))):
        with files.replacing(stem.with_suffix(suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    with files.replacing(stem.with_suffix(".png")) as temporary:
        picture(table, temporary)


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


def picture(table: Table, path: Path) -> None:
    """Typeset as books do: three rules, no grid."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = _LABEL + _CELL * len(table.columns)
    note = wrap(table.note, int(width * _NOTE))
    lines = 4.6 + sum(1.25 + len(section.rows) for section in table.sections) + 0.8 * len(note)
    figure = Figure(figsize=(width, lines * _LINE))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    axes.set(xlim=(0, width), ylim=(lines, 0))
    axes.axis("off")
    _draw(axes, table, note, width)
    FigureCanvasAgg(figure).print_figure(path, dpi=160, format="png", metadata={"Software": None})


def _draw(axes: "Axes", table: Table, note: list[str], width: float) -> None:
    y = _headings(axes, table, width)
    for section in table.sections:
        y += 1.25
        axes.text(0, y, section.title, style="italic", size=9, color="0.35")
        for row in section.rows:
            y += 1
            axes.text(0.15, y, row.label, size=10)
            for x, text in zip(_right_edges(table), texts(row, table.columns), strict=True):
                axes.text(x, y, text, size=10, ha="right")
    axes.plot((0, width), (y + 0.5, y + 0.5), color="black", linewidth=1.2)
    for number, line in enumerate(note):
        axes.text(0, y + 1.5 + 0.8 * number, line, size=8, color="0.35")


def _headings(axes: "Axes", table: Table, width: float) -> float:
    """Title, group headings, column headings and the first two rules; returns the line reached."""
    axes.text(0, 0.8, table.title, size=11, weight="bold")
    axes.plot((0, width), (1.3, 1.3), color="black", linewidth=1.2)
    edges = dict(zip((column.key for column in table.columns), _right_edges(table), strict=True))
    for group, members in groupby(table.columns, key=lambda column: column.group):
        keys = [column.key for column in members]
        left, right = edges[keys[0]] - 0.55, edges[keys[-1]]
        axes.text((left + right) / 2, 2.15, group, size=10, ha="center")
        axes.plot((left, right), (2.45, 2.45), color="0.5", linewidth=0.6)
    for column in table.columns:
        axes.text(edges[column.key], 3.2, column.name, size=10, ha="right")
    axes.plot((0, width), (3.55, 3.55), color="black", linewidth=0.7)
    return 3.4


def _right_edges(table: Table) -> list[float]:
    return [_LABEL + _CELL * (number + 1) - 0.1 for number in range(len(table.columns))]


def texts(row: Row, columns: list[Column]) -> list[str]:
    """The cells as they are shown."""
    return [
        DASH if cell is None else f"{cell:,.{column.digits}f}"
        for cell, column in zip(row.cells, columns, strict=True)
    ]


def _pipes(cells: list[str], widths: list[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return f"| {' | '.join([cells[0].ljust(widths[0]), *numbers])} |"
