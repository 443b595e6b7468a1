"""A figure of a few test images next to their true and predicted masks."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline.tasks.segmentation import palette
from pipeline.tasks.segmentation.training.data import LabeledImage
from pipeline.utils import figures

_OPACITY = 0.7
_NAME = 40  # characters of a class's name
_MOST_COLUMNS, _LINES = 8, 8  # of the legend; more lines make the figure higher


def draw(
    path: Path, shown: Sequence[tuple[LabeledImage, np.ndarray]], names: Sequence[str]
) -> None:
    """A column for each image: itself, the truth over it, and the prediction (uint8 [height,
    width]) over it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    present = _present_classes(shown)
    labels = [figures.label(class_name(names, number), _NAME) for number in present]
    width = max(2 * len(shown), 4)
    columns, extra_height = _legend(labels, width)
    figure = Figure(figsize=(width, 6.8 + extra_height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(shown), squeeze=False)
    for column, (labeled, predicted) in enumerate(shown):
        pixels = np.asarray(labeled.image)
        panels = (pixels, overlay(pixels, labeled.truth), overlay(pixels, predicted))
        for axis, panel in zip(axes[:, column], panels, strict=True):
            axis.imshow(panel, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    for axis, title in zip(axes[:, 0], ("image", "truth", "prediction"), strict=True):
        axis.set_ylabel(title)
    patches = [
        Patch(color=class_color(number), label=text)
        for number, text in zip(present, labels, strict=True)
    ]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=columns, fontsize=7, frameon=False
    )
    figures.save(figure, path)


def _legend(labels: Sequence[str], width: float) -> tuple[int, float]:
    """Columns that fit into a width in inches, and the height in inches of the lines beyond the
    first eight."""
    longest = max(map(len, labels), default=0)
    columns = min(max(1, int(width / (0.5 + 0.06 * longest))), _MOST_COLUMNS)
    lines = -(-len(labels) // columns)
    return columns, 0.15 * max(0, lines - _LINES)


def overlay(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image uint8 [height, width, 3] tinted by class; pixels without a class stay as they
    are."""
    tinted, labeled = pixels.copy(), mask > 0
    colors = 255 * palette.colors()[mask[labeled] - 1]
    tinted[labeled] = (1 - _OPACITY) * pixels[labeled] + _OPACITY * colors
    return tinted


def class_color(number: int) -> tuple[float, float, float]:
    """The color of a class, which is counted from 1, RGB in 0..1."""
    red, green, blue = palette.colors()[number - 1].tolist()
    return red, green, blue


def class_name(names: Sequence[str], number: int) -> str:
    """The name of a class, which is counted from 1; its number where there are no names."""
    return names[number - 1] if names else str(number)


def _present_classes(shown: Iterable[tuple[LabeledImage, np.ndarray]]) -> list[int]:
    """The classes that occur in truth or prediction, in order."""
    numbers: set[int] = set()
    for labeled, predicted in shown:
        numbers.update(np.unique(labeled.truth).tolist(), np.unique(predicted).tolist())
    return sorted(numbers - {0})
