"""A page of pictures with what was said of them."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.tasks.classification.metrics import Predictions

ROWS, COLUMNS = 3, 4


def draw(
    folder: Path, split: str, predictions: Predictions, names: Mapping[int, str], path: Path
) -> None:
    """The first pictures of a split, which is in random order, with prediction and truth; names: of
    the classes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * COLUMNS, 2.4 * ROWS), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(ROWS, COLUMNS).flatten()
    for axis in axes:
        axis.set_axis_off()
    rows = islice(parquet.read_rows(folder, split, ("image",)), len(axes))
    for axis, row, line in zip(axes, rows, _lines(predictions, names), strict=False):
        text, right = line
        axis.imshow(images.decode(row["image"]), interpolation="nearest")
        axis.set_title(text, fontsize=8, color="darkgreen" if right else "darkred")
    figure.savefig(path, metadata={"Software": None})


def _lines(predictions: Predictions, names: Mapping[int, str]) -> list[tuple[str, bool]]:
    """The text of each picture, and whether the prediction is right."""
    lines = []
    for predicted, truth, confidence in zip(
        predictions.predicted.tolist(),
        predictions.truth.tolist(),
        predictions.confidence.tolist(),
        strict=True,
    ):
        said, true = (names.get(label, f"class {label}") for label in (predicted, truth))
        lines.append((f"{said} ({confidence:.0%})\ntruth: {true}", predicted == truth))
    return lines
