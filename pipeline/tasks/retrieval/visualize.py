"""What was found for a few queries, as a picture: where retrieval is right and where it is
wrong."""

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.tasks.retrieval.data import EvaluationSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP = 5
QUERIES = 2  # of each kind: right and wrong, captions and pictures
_LINE = 26  # characters of a caption's line
_HEADING = 0.25  # inches above the first row
_RIGHT, _WRONG = "tab:green", "tab:red"


def draw(data: EvaluationSet, image_scores: Tensor, text_scores: Tensor, path: Path) -> None:
    """The five best candidates of the first right and wrong queries, with the true ones framed in
    green.

    image_scores: [images, captions]; text_scores: [captions, images], as for `ranking.recalls`.
    """
    from matplotlib.figure import Figure

    relevant = data.owner[None, :] == torch.arange(len(data.keys))[:, None]
    rows = [(True, *row) for row in _rows(text_scores, relevant.T)]
    rows += [(False, *row) for row in _rows(image_scores, relevant)]
    width, height = 1.9 * (1 + TOP), 1.75 * len(rows) + _HEADING
    figure = Figure(figsize=(width, height), dpi=80)
    axes = figure.subplots(
        len(rows), 1 + TOP, squeeze=False, subplot_kw={"xticks": [], "yticks": []}
    )
    # Margins are given: to find them, matplotlib would draw everything once more.
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.005, top=1 - _HEADING / height, wspace=0.08, hspace=0.06
    )
    for line, (by_text, query, best, true) in zip(axes, rows, strict=True):
        _cell(line[0], data, query, is_image=not by_text, colour="black")
        for place, candidate, right in zip(line[1:], best, true, strict=False):
            _cell(place, data, candidate, is_image=by_text, colour=_RIGHT if right else _WRONG)
    axes[0][0].set_title("query", size=9)
    for number, place in enumerate(axes[0][1:], 1):
        place.set_title(f"{number}.", size=9)
    figure.savefig(path, metadata={"Software": None})


def _rows(scores: Tensor, relevant: Tensor) -> list[tuple[int, list[int], list[bool]]]:
    """The first right, then the first wrong queries, each with its best candidates and whether
    these are true."""
    best = scores.topk(min(TOP, scores.shape[1]), dim=1).indices
    true = relevant.gather(1, best)
    chosen = [
        *true[:, 0].nonzero()[:QUERIES, 0].tolist(),
        *(~true[:, 0]).nonzero()[:QUERIES, 0].tolist(),
    ]
    return [(query, best[query].tolist(), true[query].tolist()) for query in chosen]


def _cell(axes: "Axes", data: EvaluationSet, index: int, *, is_image: bool, colour: str) -> None:
    if is_image:
        axes.imshow(data.pixels[index].numpy())
    else:
        axes.text(0.5, 0.5, fill(data.captions[index], _LINE), size=7, ha="center", va="center")
        axes.set(xlim=(0, 1), ylim=(0, 1))
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.5 if colour != "black" else 0.8)
