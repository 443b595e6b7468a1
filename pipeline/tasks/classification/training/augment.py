"""timm's RandAugment, random erasing, mixup and cutmix with keyed draws (BEiT, BEiTv2).

timm draws from the global generators of Python, numpy and torch. These are set for the length of a
call and then put back, so a draw depends on its key alone, and nothing else is disturbed.

What is off is None, and costs neither the import of timm nor a look at the generators.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.timm_import import import_timm
from pipeline.config.limits import Interval, Share
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.utils import seeds


@dataclass(frozen=True)
class ErasingParams:
    """Random erasing."""

    probability: Share
    mode: Literal["const", "rand", "pixel"]  # gray, one random color, random pixels
    count: Annotated[int, Interval(1, 100)]  # most rectangles in an image


@dataclass(frozen=True)
class MixingParams:
    """Mixup and cutmix; each is off where its alpha is 0."""

    mixup: float  # alpha of the Beta distribution of the shares
    cutmix: float  # the same for the area that the other image takes
    probability: Share  # that images are mixed at all
    switch: Share  # that they are mixed by cutmix, where both are on


@contextmanager
def drawing_from(*parts: int | str) -> Iterator[None]:
    """The global generators draw what belongs to these parts; afterwards they go on as if nothing
    had happened."""
    seed = seeds.key(*parts) >> 96
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def rand_augment(config: str | None, size: int) -> Callable[[Image.Image], Image.Image] | None:
    """RandAugment for images of `size` pixels, from timm's configuration string; off where that is
    None.

    Raises:
        UserError: timm does not understand the string.
    """
    if config is None:
        return None
    import_timm()
    from timm.data.auto_augment import rand_augment_transform

    options = {
        "translate_const": int(0.45 * size),
        "img_mean": (128, 128, 128),
        "interpolation": images.INTERPOLATION,
    }
    try:
        return rand_augment_transform(config, options)
    except (AssertionError, ValueError) as error:
        raise UserError(f"rand_augment: timm does not understand {config!r}: {error}") from None


def erasing(params: ErasingParams) -> Callable[[Tensor], Tensor] | None:
    """Random erasing, in place, of float [3, height, width]; what is erased is N(0, 1) or 0
    there."""
    if not params.probability:
        return None
    import_timm()
    from timm.data.random_erasing import RandomErasing

    return RandomErasing(params.probability, mode=params.mode, max_count=params.count, device="cpu")


def mixing(
    params: MixingParams, label_smoothing: float, classes: int
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Mix float images [n, 3, height, width], in place, with themselves in reverse order (n
    even).

    The function takes them and their labels int64 [n]; it returns them and targets [n, classes]
    that are smoothed, mixed alike and sum to one.
    """
    if not params.probability or not (params.mixup > 0 or params.cutmix > 0):
        return None
    import_timm()
    from timm.data.mixup import Mixup

    return Mixup(
        params.mixup,
        params.cutmix,
        prob=params.probability,
        switch_prob=params.switch,
        label_smoothing=label_smoothing,
        num_classes=classes,
    )
