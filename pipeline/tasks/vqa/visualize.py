"""A figure of a few test images with a question each, the model's three best answers and the
annotators' one."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.tasks.vqa.training.answers import normalize
from pipeline.tasks.vqa.training.data import ShownQuestion
from pipeline.tasks.vqa.training.metrics import Prediction
from pipeline.utils import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS, ROWS = 4, 2
_LINE, _LINES = 30, 4  # characters and lines of a question
_ANSWER = 40  # characters
_COLORS = {None: "black", True: "tab:green", False: "tab:red"}  # unknown, right, wrong


def choose(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Right ones for the first row and wrong ones for the second, the first of each, about
    different images; just the first ones where nobody knows what is right."""
    examples: dict[str, Prediction] = {}
    for right in (True, False):
        count = 0
        for prediction in predictions:
            fits = _is_right(prediction) in (None, right)
            if fits and count < COLUMNS and prediction.question.image_key not in examples:
                examples[prediction.question.image_key] = prediction
                count += 1
    return list(examples.values())


def draw(examples: Sequence[Prediction], shown: Iterable[ShownQuestion], path: Path) -> None:
    """Some predictions with their images, which are among `shown`."""
    from matplotlib.figure import Figure

    images = _images({prediction.question.id for prediction in examples}, shown)
    figure = Figure(figsize=(2.6 * COLUMNS, 3.6 * ROWS), dpi=80)
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.13, top=0.93, wspace=0.12, hspace=0.5)
    cells = figure.subplots(ROWS, COLUMNS, squeeze=False).ravel()
    for cell in cells:
        cell.set_axis_off()
    for cell, prediction in zip(cells, examples, strict=False):
        _draw_example(cell, prediction, images[prediction.question.id])
    figures.save(figure, path)


def _draw_example(cell: "Axes", prediction: Prediction, image: np.ndarray) -> None:
    cell.imshow(image)
    cell.set_title(figures.label(prediction.question.text, _LINE, _LINES), size=9)
    color = _COLORS[_is_right(prediction)]
    caption = _caption(prediction)
    cell.text(0, -0.03, caption, size=8, va="top", transform=cell.transAxes, color=color)


def _images(wanted: set[int], shown: Iterable[ShownQuestion]) -> dict[int, np.ndarray]:
    """The images of some questions, by the questions' ids."""
    images: dict[int, np.ndarray] = {}
    for question, image in shown:
        if question.id in wanted:
            images[question.id] = image
        if len(images) == len(wanted):
            break
    return images


def _is_right(prediction: Prediction) -> bool | None:
    """Whether the answer is the annotators' most frequent one; None where theirs are not known."""
    annotated = prediction.question.answers
    return normalize(prediction.answer) == normalize(annotated[0]) if annotated else None


def _caption(prediction: Prediction) -> str:
    lines = [
        f"{probability:.2f}  {figures.label(answer, _ANSWER)}"
        for answer, probability in prediction.best
    ]
    truth = prediction.question.answers
    return "\n".join([*lines, f"truth: {figures.label(truth[0], _ANSWER)}"] if truth else lines)
