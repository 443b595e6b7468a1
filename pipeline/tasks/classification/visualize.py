"""A figure of test images with their predicted and true classes."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.tasks.classification.training.metrics import Predictions
from pipeline.utils import figures

ROWS, COLUMNS = 3, 4
_NAME = 40  # characters of a class's name


def draw(
    folder: Path, split: str, predictions: Predictions, names: Mapping[int, str], path: Path
) -> None:
    """The first images of a split, which is in random order, with prediction and truth; names: of
    the classes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * COLUMNS, 2.4 * ROWS), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(ROWS, COLUMNS).flatten()
    for axis in axes:
        axis.set_axis_off()
    rows = islice(parquet.read_rows(folder, split, ("image",)), len(axes))
    for index, (axis, row) in enumerate(zip(axes, rows, strict=False)):
        title, is_right = _title(predictions, index, names)
        axis.imshow(images.decode(row["image"]), interpolation="nearest")
        axis.set_title(title, fontsize=8, color="darkgreen" if is_right else "darkred")
    figures.save(figure, path)


def _title(predictions: Predictions, index: int, names: Mapping[int, str]) -> tuple[str, bool]:
    """The title of an image, and whether its prediction is right."""
    predicted, label = int(predictions.predicted[index]), int(predictions.labels[index])
    confidence = predictions.confidence[index].item()
    predicted_name = figures.label(names.get(predicted, f"class {predicted}"), _NAME)
    true_name = figures.label(names.get(label, f"class {label}"), _NAME)
    return f"{predicted_name} ({confidence:.0%})\ntruth: {true_name}", predicted == label
