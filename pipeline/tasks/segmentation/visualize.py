"""A figure of a few test images next to their true and predicted masks, in colors that can be told
apart, also by the color-blind.

The color of a class is the one, of a grid in RGB, that is farthest from those of all classes before:
in CIELAB, where distances are about those that people see, and in CIELAB as people without one of the
three cones see it (Machado, Oliveira and Fernandes, *A Physiologically-based Model for Simulation of
Color Vision Deficiency*, 2009). So the first classes are the easiest to tell apart, and a class keeps
its color whatever their number.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.tasks.segmentation.training.data import LabeledImage
from pipeline.utils import figures

_OPACITY = 0.8
_NAME = 40  # characters of a class's name
_MOST_COLUMNS, _LINES = 8, 8  # of the legend; more lines make the figure higher
NUM_COLORS = 255  # classes that masks of bytes can hold
_LEVELS = 16  # of the grid, in each of red, green and blue
# Lightness and chroma in CIELAB: over an image, darker, lighter and grayer colors look like shadows,
# highlights and no color at all.
_LIGHTNESS, _CHROMA = (30, 95), 30
# Distances as the color-blind see them count twice: colors that differ for them alone are rare.
_COLOR_BLIND = 2.0
# Linear RGB as seen by people without the cones for long, middle and short waves.
_DEFICIENCIES = np.array(
    [
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)
# Linear sRGB to CIE XYZ, relative to the white point D65.
_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


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
    colors = 255 * class_colors()[mask[labeled] - 1]
    tinted[labeled] = (1 - _OPACITY) * pixels[labeled] + _OPACITY * colors
    return tinted


def class_color(number: int) -> tuple[float, float, float]:
    """The color of a class, which is counted from 1, RGB in 0..1."""
    red, green, blue = class_colors()[number - 1].tolist()
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


@cache
def class_colors() -> np.ndarray:
    """NUM_COLORS colors of classes, the first of class 1: RGB in 0..1, [n, 3]."""
    levels = np.linspace(0, 1, _LEVELS)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    views = np.stack([lab(grid), *(_COLOR_BLIND * lab(grid, seen) for seen in _DEFICIENCIES)])
    least, most = _LIGHTNESS
    lightness, chroma = views[0, :, 0], _chroma(views[0])
    usable = (least <= lightness) & (lightness <= most) & (_CHROMA <= chroma)
    return grid[usable][_farthest(views[:, usable])]


def _farthest(views: np.ndarray) -> list[int]:
    """Greedy selection of NUM_COLORS points, beginning with the most colorful: each as far as can be
    from those before it, in the view [views, points, 3] in which it is nearest to them."""
    chosen = [int(_chroma(views[0]).argmax())]
    nearest = np.full(views.shape[1], np.inf)
    while len(chosen) < NUM_COLORS:
        distances = np.linalg.norm(views - views[:, chosen[-1:]], axis=-1).min(axis=0)
        nearest = np.minimum(nearest, distances)
        chosen.append(int(nearest.argmax()))
    return chosen


def _chroma(points: np.ndarray) -> np.ndarray:
    """How colorful points of CIELAB are."""
    return np.hypot(points[:, 1], points[:, 2])


def lab(rgb: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """sRGB in 0..1 as CIELAB, [n, 3] both; `seen`: a matrix of linear RGB before that."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if seen is not None:
        linear = (linear @ seen.T).clip(0, 1)
    xyz = linear @ (_XYZ / _XYZ.sum(axis=1, keepdims=True)).T
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
