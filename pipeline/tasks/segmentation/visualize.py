"""What a person looks at: predicted masks, the score of each class, and pictures next to truth and
prediction."""

import colorsys
import csv
import zipfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.tasks.segmentation.data import Labelled
from pipeline.tasks.segmentation.metrics import TRUTH, ious
from pipeline.utils import files

_DATE = (
    2016,
    1,
    1,
    0,
    0,
    0,
)  # of all members, so that the bytes of the zip depend on the masks alone
_GOLDEN = 0.618034  # share of the colour circle from one class to the next
_OPACITY = 0.7


class MaskZip:
    """A zip of predicted masks in the format of the annotations: PNG of mode L, classes from 1."""

    def __init__(self, path: Path):
        self._archive = zipfile.ZipFile(path, "w")

    def __enter__(self) -> "MaskZip":
        return self

    def __exit__(self, *error: object) -> None:
        self._archive.close()

    def add(self, key: str, mask: np.ndarray) -> None:
        """uint8 [height, width]."""
        buffer = BytesIO()
        Image.fromarray(mask).save(buffer, "PNG")
        self._archive.writestr(zipfile.ZipInfo(f"{key}.png", _DATE), buffer.getvalue())


def write_classes(path: Path, total: np.ndarray, names: Sequence[str]) -> None:
    """A row per class: number, name, intersection over union, and its share of the labelled pixels.

    total: summed areas [3, classes].
    """
    shares = total[TRUTH] / max(total[TRUTH].sum(), 1)
    with (
        files.replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("class", "name", "iou", "share"))
        for number, (iou, share) in enumerate(zip(ious(total), shares, strict=True)):
            writer.writerow((number + 1, _name(names, number + 1), f"{iou:.6f}", f"{share:.6f}"))


def draw(path: Path, shown: Sequence[tuple[Labelled, np.ndarray]], names: Sequence[str]) -> None:
    """A column for each picture: itself, the truth over it, and the prediction (uint8 [height,
    width]) over it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(2 * len(shown), 6.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(shown), squeeze=False)
    for column, (picture, predicted) in enumerate(shown):
        pixels = np.asarray(picture.image)
        panels = (pixels, overlay(pixels, picture.truth), overlay(pixels, predicted))
        for axis, panel in zip(axes[:, column], panels, strict=True):
            axis.imshow(panel, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    for axis, title in zip(axes[:, 0], ("picture", "truth", "prediction"), strict=True):
        axis.set_ylabel(title)
    patches = [
        Patch(color=colour(number), label=_name(names, number)) for number in _present(shown)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=8, fontsize=7, frameon=False)
    figure.savefig(path, metadata={"Software": None})


def overlay(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pictures uint8 [height, width, 3] tinted by class; what has none stays as it is."""
    palette = (
        np.array([colour(number) for number in range(int(mask.max()) + 1)], dtype=np.float32) * 255
    )
    tinted = (1 - _OPACITY) * pixels + _OPACITY * palette[mask]
    return np.where(mask[..., None] > 0, tinted, pixels).astype(np.uint8)


def colour(number: int) -> tuple[float, float, float]:
    """The colour of a class, RGB in 0..1."""
    paler, darker = (
        number // 8 % 2,
        number // 13 % 2,
    )  # after 8 and after 13 classes hues nearly come back
    return colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.95 - 0.45 * paler, 1.0 - 0.35 * darker)


def _present(shown: Iterable[tuple[Labelled, np.ndarray]]) -> list[int]:
    """The classes that occur in truth or prediction, in order."""
    numbers = {
        int(number)
        for picture, predicted in shown
        for mask in (picture.truth, predicted)
        for number in np.unique(mask)
    }
    return sorted(numbers - {0})


def _name(names: Sequence[str], number: int) -> str:
    return names[number - 1] if names else str(number)
