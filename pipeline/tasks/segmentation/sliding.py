"""Pictures of any size through a model of one size: windows that slide over them, and several scales."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from model.segmentation import Segmentation, resize
from pipeline import images
from pipeline.tasks.segmentation.augment import fitted


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
def segment(model: Segmentation, image: Image.Image, params: TestParams) -> np.ndarray:
    """The class of each pixel of an RGB picture, from 1: uint8 [height, width].

    Class probabilities are averaged over ratios and flips at the picture's own size (mmsegmentation).
    """
    total: Tensor | float = 0.0
    for ratio in params.ratios:
        pixels = _pixels(image, params, ratio).to(next(model.parameters()).device)
        for mirrored in (False, True) if params.flip else (False,):
            logits = slide(model.logits, pixels.flip(2) if mirrored else pixels, params)
            logits = logits.flip(2) if mirrored else logits
            total = total + resize(logits[None], image.size[::-1])[0].softmax(dim=0)
    return (total.argmax(dim=0) + 1).to(torch.uint8).cpu().numpy()


def slide(predict: Callable[[Tensor], Tensor], pixels: Tensor, params: TestParams) -> Tensor:
    """Logits [classes, height, width] of a picture [3, height, width]: the mean over the windows that see a pixel.

    predict: [n, 3, window, window] to [n, classes, window, window]. A picture that is shorter than the window is filled
    up with 0, because positions need the exact grid.
    """
    height, width = pixels.shape[1:]
    side = params.window
    pixels = F.pad(pixels, (0, max(side - width, 0), 0, max(side - height, 0)))
    places = [(slice(top, top + side), slice(left, left + side)) for top in starts(height, side, params.stride)
              for left in starts(width, side, params.stride)]
    views = torch.stack([pixels[:, rows, columns] for rows, columns in places])
    outputs = torch.cat([predict(chunk) for chunk in views.split(params.batch)])
    total, count = outputs.new_zeros(outputs.shape[1], *pixels.shape[1:]), outputs.new_zeros(pixels.shape[1:])
    for (rows, columns), output in zip(places, outputs, strict=True):
        total[:, rows, columns] += output
        count[rows, columns] += 1
    return (total / count)[:, :height, :width]


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side: every `stride` pixels, the last one at the end."""
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def _pixels(image: Image.Image, params: TestParams, ratio: float) -> Tensor:
    """The resized picture, [3, height, width] in -1..1."""
    shortest = params.window if len(params.ratios) > 1 else 1
    size = fitted(image.size, params.base, ratio, shortest)
    return images.normalise(torch.from_numpy(np.array(image.resize(size, images.INTERPOLATION)))[None])[0]
