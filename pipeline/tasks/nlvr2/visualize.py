"""A figure of a few statements with their images, the truth and the prediction."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tasks.nlvr2.training.data import SIDES, Examples
from pipeline.utils import figures

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

ROWS, COLUMNS = 3, 2  # of pairs
_LINE, _LINES = 46, 4  # characters and lines of a statement


def draw(batch: Examples, probabilities: Sequence[float], path: Path) -> None:
    """The first six examples of a batch; `probabilities`: that each is true. HardNegatives answers are in
    red."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * COLUMNS, 2.6 * ROWS), dpi=80)
    cells = figure.subfigures(ROWS, COLUMNS, squeeze=False).flat
    for index, cell in zip(range(len(batch.keys)), cells, strict=False):
        _draw_example(cell, batch, index, probabilities[index])
    figures.save(figure, path)


def _draw_example(cell: "SubFigure", batch: Examples, index: int, probability: float) -> None:
    label = bool(batch.labels[index])
    for axes, pixels in zip(cell.subplots(1, len(SIDES)), batch.pixels[index], strict=True):
        axes.imshow(pixels.numpy())
        axes.axis("off")
    cell.subplots_adjust(left=0.04, right=0.96, top=0.8, bottom=0.12, wspace=0.06)
    cell.suptitle(figures.label(batch.statements[index], _LINE, _LINES), size=9, y=0.97)
    color = "tab:green" if (probability >= 0.5) == label else "tab:red"
    caption = f"{label}; the model: true with {probability:.2f}"
    cell.text(0.5, 0.03, caption, size=9, ha="center", color=color)
