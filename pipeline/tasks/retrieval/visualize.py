"""A figure of a few queries with their best candidates: where retrieval is right and where it is
wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pipeline.tasks.retrieval.training.data import EvaluationSet
from pipeline.utils import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP_K = 5
QUERIES = 2  # of each kind: right and wrong, captions and images
_LINE, _LINES = 26, 12  # characters and lines of a caption
_HEADING = 0.25  # inches above the first row
_RIGHT, _WRONG, _QUERY = "tab:green", "tab:red", "black"


class _Row(NamedTuple):
    """A query and its best candidates."""

    by_text: bool  # whether the query is a caption and the candidates are images
    query: int
    candidates: list[int]
    relevant: list[bool]  # of each candidate


def draw(data: EvaluationSet, image_scores: Tensor, text_scores: Tensor, path: Path) -> None:
    """The five best candidates of the first right and wrong queries, with the true ones framed in
    green.

    image_scores: [images, captions]; text_scores: [captions, images], as for `metrics.recalls`.
    """
    from matplotlib.figure import Figure

    relevant = data.image_indices[None, :] == torch.arange(len(data.keys))[:, None]
    rows = [*_rows(text_scores, relevant.T, True), *_rows(image_scores, relevant, False)]
    width, height = 1.9 * (1 + TOP_K), 1.75 * len(rows) + _HEADING
    figure = Figure(figsize=(width, height), dpi=80)
    axes = figure.subplots(
        len(rows), 1 + TOP_K, squeeze=False, subplot_kw={"xticks": [], "yticks": []}
    )
    # Margins are given: to find them, matplotlib would draw everything once more.
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.005, top=1 - _HEADING / height, wspace=0.08, hspace=0.06
    )
    for cells, row in zip(axes, rows, strict=True):
        _cell(cells[0], data, row.query, is_image=not row.by_text, color=_QUERY)
        for cell, candidate, hit in zip(cells[1:], row.candidates, row.relevant, strict=False):
            color = _RIGHT if hit else _WRONG
            _cell(cell, data, candidate, is_image=row.by_text, color=color)
    axes[0][0].set_title("query", size=9)
    for rank, cell in enumerate(axes[0][1:], 1):
        cell.set_title(f"{rank}.", size=9)
    figures.save(figure, path)


def _rows(scores: Tensor, relevant: Tensor, by_text: bool) -> list[_Row]:
    """The first right, then the first wrong queries. scores, relevant: [queries, candidates]."""
    best = scores.topk(min(TOP_K, scores.shape[1]), dim=1).indices
    hits = relevant.gather(1, best)
    right, wrong = hits[:, 0].nonzero()[:QUERIES, 0], (~hits[:, 0]).nonzero()[:QUERIES, 0]
    return [
        _Row(by_text, query, best[query].tolist(), hits[query].tolist())
        for query in [*right.tolist(), *wrong.tolist()]
    ]


def _cell(axes: "Axes", data: EvaluationSet, index: int, *, is_image: bool, color: str) -> None:
    if is_image:
        axes.imshow(data.pixels[index].numpy())
    else:
        caption = figures.label(data.captions[index], _LINE, _LINES)
        axes.text(0.5, 0.5, caption, size=7, ha="center", va="center")
        axes.set(xlim=(0, 1), ylim=(0, 1))
    for spine in axes.spines.values():
        spine.set(color=color, linewidth=0.8 if color == _QUERY else 2.5)
