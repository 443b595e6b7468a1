"""Pictures of any size through a model of one size: windows that slide over them, and several
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
from pipeline.tasks.segmentation.augment import fitted
from pipeline.tasks.segmentation.data import Labelled


@dataclass(frozen=True)
class TestParams:
    """How a picture is read at test time."""

    window: int  # pixels; the model's size
    stride: int  # pixels from one window to the next
    base: tuple[int, int]  # long and short side that pictures are resized to
    ratios: list[float]  # on that size; with several, the short side is never below the window
    flip: bool  # add the mirrored picture at each ratio
    batch: int  # windows at a time


@torch.inference_mode()
def segments(
    model: Segmentation, pictures: Iterable[Labelled], params: TestParams
) -> Iterator[tuple[Labelled, np.ndarray]]:
    """Each picture with the class of each of its pixels, from 1: uint8 [height, width].

    Class probabilities are averaged over ratios and flips at the picture's own size
    (mmsegmentation).
    """
    device = next(model.parameters()).device
    looks = [
        (ratio, mirrored)
        for ratio in params.ratios
        for mirrored in ((False, True) if params.flip else (False,))
    ]
    waiting: deque[Labelled] = deque()

    def looked_at() -> Iterator[Tensor]:
        for picture in pictures:
            waiting.append(picture)
            for ratio, mirrored in looks:
                pixels = _pixels(picture.image, params, ratio).to(device)
                yield pixels.flip(2) if mirrored else pixels

    outputs = slide(model.logits, looked_at(), params)
    while logits := list(islice(outputs, len(looks))):
        picture = waiting.popleft()
        size = picture.image.size[::-1]
        total = sum(
            resize((one.flip(2) if mirrored else one)[None], size)[0].softmax(dim=0)
            for one, (_, mirrored) in zip(logits, looks, strict=True)
        )
        yield picture, (total.argmax(dim=0) + 1).to(torch.uint8).cpu().numpy()


def slide(
    predict: Callable[[Tensor], Tensor], pictures: Iterable[Tensor], params: TestParams
) -> Iterator[Tensor]:
    """Logits [classes, height, width] of each picture [3, height, width]: the mean over the windows
    that see a pixel.

    predict: [n, 3, window, window] to [n, classes, window, window]. Its n is `batch`, of whatever
    pictures come one after the other: windows are all of one size.
    """
    windows = (window for pixels in pictures for window in _windows(pixels, params))
    while batch := list(islice(windows, params.batch)):
        outputs = predict(torch.stack([window.pixels for window in batch]))
        for window, output in zip(batch, outputs, strict=True):
            window.mean.add(window.rows, window.columns, output)
            if window.last:
                yield window.mean.result()


class _Mean:
    """Of the outputs of a picture's windows, pixel by pixel.

    size: height and width of the picture; shape: the same, filled up to whole windows.
    """

    def __init__(self, size: tuple[int, int], shape: tuple[int, int]):
        self.size, self.shape = size, shape
        self.total: Tensor | None = None

    def add(self, rows: slice, columns: slice, output: Tensor) -> None:
        if self.total is None:
            self.total = output.new_zeros(len(output), *self.shape)
            self.count = output.new_zeros(self.shape)
        self.total[:, rows, columns] += output
        self.count[rows, columns] += 1

    def result(self) -> Tensor:
        height, width = self.size
        return (self.total / self.count)[:, :height, :width]


class _Window(NamedTuple):
    """A part of a picture, and where its output goes."""

    pixels: Tensor  # [3, window, window]
    rows: slice
    columns: slice
    mean: _Mean
    last: bool  # of its picture


def _windows(pixels: Tensor, params: TestParams) -> Iterator[_Window]:
    """Of a picture [3, height, width]. One that is shorter than the window is filled up with 0,
    because positions need the exact grid."""
    (height, width), side = pixels.shape[1:], params.window
    pixels = F.pad(pixels, (0, max(side - width, 0), 0, max(side - height, 0)))
    mean = _Mean((height, width), pixels.shape[1:])
    places = [
        (slice(top, top + side), slice(left, left + side))
        for top in starts(height, side, params.stride)
        for left in starts(width, side, params.stride)
    ]
    for number, (rows, columns) in enumerate(places, 1):
        yield _Window(pixels[:, rows, columns], rows, columns, mean, number == len(places))


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side: every `stride` pixels, the last one at the end."""
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def _pixels(image: Image.Image, params: TestParams, ratio: float) -> Tensor:
    """The resized picture, [3, height, width] in -1..1."""
    shortest = params.window if len(params.ratios) > 1 else 1
    size = fitted(image.size, params.base, ratio, shortest)
    return images.normalize(
        torch.from_numpy(np.array(image.resize(size, images.INTERPOLATION)))[None]
    )[0]
