"""Segmentation of images of any size by a model of one size: a sliding window, and several
scales."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from model.heads.segmentation import Segmentation, resize
from pipeline.data.transforms import images
from pipeline.tasks.segmentation.training.data import EvaluationInputs, LabeledImage
from pipeline.tasks.segmentation.training.resize import ResizeFilter, fitted, resized
from pipeline.utils import finite


@dataclass(frozen=True)
class WindowParams:
    """How an image is read at test time."""

    window: int  # pixels; the model's size
    stride: int  # pixels from one window to the next
    base: tuple[int, int]  # long and short side that images are resized to
    resize_filter: ResizeFilter
    ratios: list[float]  # on that size; with several, the short side is never below the window
    flip: bool  # add the mirrored image at each ratio
    batch: int  # windows at a time

    @classmethod
    def of(
        cls, inputs: EvaluationInputs, ratios: list[float], flip: bool, batch: int
    ) -> "WindowParams":
        """Windows as large as the crops of training."""
        return cls(
            inputs.image_size,
            inputs.stride,
            inputs.base,
            inputs.resize_filter,
            ratios,
            flip,
            batch,
        )


@torch.inference_mode()
def segment(
    model: Segmentation, labeled: Iterable[LabeledImage], params: WindowParams, first: int = 0
) -> Iterator[tuple[LabeledImage, np.ndarray]]:
    """Each image with the predicted class of each of its pixels, from 1: uint8 [height, width].
    Images before the number `first` are left out, and those behind are in the same batches.

    Class probabilities are averaged over ratios and flips at the image's own size (mmsegmentation).

    Raises:
        NonFiniteError: one is NaN or infinite.
    """
    device = next(model.parameters()).device
    flips = (False, True) if params.flip else (False,)
    views = [(ratio, mirrored) for ratio in params.ratios for mirrored in flips]
    waiting: deque[LabeledImage] = deque()

    def inputs() -> Iterator[Tensor]:
        for number, one in enumerate(labeled):
            if number >= first:
                waiting.append(one)
            for ratio, mirrored in views:
                pixels = _pixels(one.image, params, ratio).to(device)
                yield pixels.flip(2) if mirrored else pixels

    outputs = slide(model.logits, inputs(), params, first * len(views))
    while logits := list(islice(outputs, len(views))):
        one = waiting.popleft()
        height, width = one.image.size[1], one.image.size[0]
        total = torch.zeros((), device=device)
        for view, (_, mirrored) in zip(logits, views, strict=True):
            view = view.flip(2) if mirrored else view
            total = total + resize(view[None], (height, width))[0].softmax(dim=0)
        finite.checked(total, f"probabilities of the classes in {one.key}")
        yield one, (total.argmax(dim=0) + 1).to(torch.uint8).cpu().numpy()


def slide(
    predict: Callable[[Tensor], Tensor],
    inputs: Iterable[Tensor],
    params: WindowParams,
    first: int = 0,
) -> Iterator[Tensor]:
    """Logits [classes, height, width] of each image [3, height, width] from the number `first`: the
    mean over the windows that see a pixel.

    predict: [n, 3, window, window] to [n, classes, window, window]. Its n is `batch`, of whatever
    images come one after the other: windows are all of one size.
    """
    windows = (
        window
        for number, pixels in enumerate(inputs)
        for window in _windows(pixels, params, is_wanted=number >= first)
    )
    while batch := list(islice(windows, params.batch)):
        if not any(window.is_wanted for window in batch):
            continue
        outputs = predict(torch.stack([window.pixels for window in batch]))
        for window, output in zip(batch, outputs, strict=True):
            if not window.is_wanted:
                continue
            window.mean.add(window.rows, window.columns, output)
            if window.is_last:
                yield window.mean.result()


class _Mean:
    """Of the outputs of an image's windows, pixel by pixel.

    size: height and width of the image; padded_size: the same, filled up to whole windows.
    """

    def __init__(self, size: tuple[int, int], padded_size: tuple[int, int]):
        self.size, self.padded_size = size, padded_size
        self.total: Tensor | None = None
        self.count: Tensor | None = None

    def add(self, rows: slice, columns: slice, output: Tensor) -> None:
        """Count in the output [classes, window, window] of a window."""
        if self.total is None or self.count is None:
            self.total = output.new_zeros(len(output), *self.padded_size)
            self.count = output.new_zeros(self.padded_size)
        self.total[:, rows, columns] += output
        self.count[rows, columns] += 1

    def result(self) -> Tensor:
        """[classes, height, width], after the last window."""
        assert self.total is not None and self.count is not None
        height, width = self.size
        return (self.total / self.count)[:, :height, :width]


class _Window(NamedTuple):
    """A part of an image, and where its output goes."""

    pixels: Tensor  # [3, window, window]
    rows: slice
    columns: slice
    mean: _Mean
    is_last: bool  # of its image
    is_wanted: bool


def _windows(pixels: Tensor, params: WindowParams, *, is_wanted: bool) -> Iterator[_Window]:
    """Of an image [3, height, width]. One that is smaller than the window is filled up with 0,
    because positions need the exact grid."""
    height, width = pixels.shape[1:]
    side = params.window
    pixels = F.pad(pixels, (0, max(side - width, 0), 0, max(side - height, 0)))
    mean = _Mean((height, width), (pixels.shape[1], pixels.shape[2]))
    tops, lefts = starts(height, side, params.stride), starts(width, side, params.stride)
    for top in tops:
        for left in lefts:
            rows, columns = slice(top, top + side), slice(left, left + side)
            is_last = (top, left) == (tops[-1], lefts[-1])
            yield _Window(pixels[:, rows, columns], rows, columns, mean, is_last, is_wanted)


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side: every `stride` pixels, the last one at the end."""
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def _pixels(image: Image.Image, params: WindowParams, ratio: float) -> Tensor:
    """The resized image, [3, height, width] in -1..1."""
    shortest = params.window if len(params.ratios) > 1 else 1
    size = fitted(image.size, params.base, ratio, params.resize_filter, shortest)
    pixels = torch.from_numpy(resized(image, size, params.resize_filter))
    return images.normalize(pixels[None])[0]
