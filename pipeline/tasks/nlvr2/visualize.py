"""A few pairs with their statement, the truth and what the model thinks, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from pipeline.tasks.nlvr2.data import SIDES, Examples

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

ROWS, COLUMNS = 3, 2  # of pairs
_LINE = 46  # characters of a statement's line


def draw(batch: Examples, truth: Sequence[float], path: Path) -> None:
    """The first six examples of a batch; `truth`: probability that each is true. Wrong answers are
    in red."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * COLUMNS, 2.6 * ROWS), dpi=80)
    cells = figure.subfigures(ROWS, COLUMNS).flat
    for number, cell in zip(range(len(batch.keys)), cells, strict=False):
        _pair(cell, batch, number, truth[number])
    figure.savefig(path, metadata={"Software": None})


def _pair(cell: "SubFigure", batch: Examples, number: int, truth: float) -> None:
    label = bool(batch.labels[number])
    for axes, pixels in zip(cell.subplots(1, len(SIDES)), batch.pixels[number], strict=True):
        axes.imshow(pixels.numpy())
        axes.axis("off")
    cell.subplots_adjust(left=0.04, right=0.96, top=0.8, bottom=0.12, wspace=0.06)
    cell.suptitle(fill(batch.statements[number], _LINE), size=9, y=0.97)
    colour = "tab:green" if (truth >= 0.5) == label else "tab:red"
    cell.text(
        0.5, 0.03, f"{label}; the model: true with {truth:.2f}", size=9, ha="center", color=colour
    )
