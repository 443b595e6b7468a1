"""A few test pictures with a question each, the model's three best answers and the annotators'
one."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill

from pipeline.tasks.vqa.data import Shown
from pipeline.tasks.vqa.metrics import normalise
from pipeline.tasks.vqa.predict import Prediction

COLUMNS, ROWS = 4, 2
_LINE = 30  # characters


def choose(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Right ones for the first row and wrong ones for the second, the first of each, from different
    pictures; just the first ones where nobody knows what is right."""
    chosen: dict[str, Prediction] = {}
    for right in (True, False):
        found = 0
        for prediction in predictions:
            fits = _right(prediction) in (None, right)
            if fits and found < COLUMNS and prediction.asked.picture not in chosen:
                chosen[prediction.asked.picture] = prediction
                found += 1
    return list(chosen.values())


def draw(chosen: Sequence[Prediction], shown: Iterable[Shown], path: Path) -> None:
    """The chosen questions with their pictures, which are among `shown`."""
    from matplotlib.figure import Figure

    pictures = _pictures({prediction.asked.id for prediction in chosen}, shown)
    figure = Figure(figsize=(2.6 * COLUMNS, 3.6 * ROWS), dpi=80)
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.13, top=0.93, wspace=0.12, hspace=0.5)
    axes = figure.subplots(ROWS, COLUMNS, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for place, prediction in zip(axes, chosen, strict=False):
        place.imshow(pictures[prediction.asked.id])
        place.set_title(fill(prediction.asked.text, _LINE), size=9)
        place.text(
            0,
            -0.03,
            _caption(prediction),
            size=8,
            va="top",
            transform=place.transAxes,
            color={None: "black", True: "tab:green", False: "tab:red"}[_right(prediction)],
        )
    figure.savefig(path, metadata={"Software": None})


def _pictures(wanted: set[int], shown: Iterable[Shown]) -> dict[int, object]:
    found = {}
    for asked, picture in shown:
        if asked.id in wanted:
            found[asked.id] = picture
        if len(found) == len(wanted):
            break
    return found


def _right(prediction: Prediction) -> bool | None:
    """Whether the answer is the annotators' most frequent one; None where theirs are not known."""
    given = prediction.asked.answers
    return normalise(prediction.answer) == normalise(given[0]) if given else None


def _caption(prediction: Prediction) -> str:
    lines = [f"{value:.2f}  {answer}" for answer, value in prediction.best]
    truth = prediction.asked.answers
    return "\n".join([*lines, f"truth: {truth[0]}"] if truth else lines)
