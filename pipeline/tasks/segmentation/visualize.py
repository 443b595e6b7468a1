"""A figure of a few test images next to their true and predicted masks."""

import colorsys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline.tasks.segmentation.training.data import LabeledImage

_GOLDEN = 0.618034  # share of the color circle from one class to the next
_OPACITY = 0.7


def draw(
    path: Path, shown: Sequence[tuple[LabeledImage, np.ndarray]], names: Sequence[str]
) -> None:
    """A column for each image: itself, the truth over it, and the prediction (uint8 [height,
    width]) over it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(2 * len(shown), 6.8), dpi=100, layout="constrained")
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
    patches = []
    for number in _present_classes(shown):
        patches.append(Patch(color=class_color(number), label=class_name(names, number)))
    figure.legend(handles=patches, loc="outside lower center", ncols=8, fontsize=7, frameon=False)
    figure.savefig(path, metadata={"Software": None})


def overlay(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image uint8 [height, width, 3] tinted by class; pixels without a class stay as they
    are."""
    colors = [class_color(number) for number in range(int(mask.max()) + 1)]
    palette = np.array(colors, dtype=np.float32) * 255
    tinted = (1 - _OPACITY) * pixels + _OPACITY * palette[mask]
    return np.where(mask[..., None] > 0, tinted, pixels).astype(np.uint8)


def class_color(number: int) -> tuple[float, float, float]:
    """The color of a class, RGB in 0..1."""
    # after 8 and after 13 classes hues nearly come back
    paler, darker = number // 8 % 2, number // 13 % 2
    return colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.95 - 0.45 * paler, 1.0 - 0.35 * darker)


def class_name(names: Sequence[str], number: int) -> str:
    """The name of a class, which is counted from 1; its number where there are no names."""
    return names[number - 1] if names else str(number)


def _present_classes(shown: Iterable[tuple[LabeledImage, np.ndarray]]) -> list[int]:
    """The classes that occur in truth or prediction, in order."""
    numbers: set[int] = set()
    for labeled, predicted in shown:
        numbers.update(np.unique(labeled.truth).tolist(), np.unique(predicted).tolist())
    return sorted(numbers - {0})
