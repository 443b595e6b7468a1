"""Images and texts as the fine-tunes on pairs see them: one augmentation, one way to pad (VLMo)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.backbone.config import PAD_ID
from pipeline.config.limits import Pixels, TextLength
from pipeline.data.loading.sampler import OrderParams
from pipeline.data.transforms import views
from pipeline.data.transforms.rand_augment import RandAugmentParams, rand_augment


@dataclass(frozen=True)
class ImageTextInputs:
    """What evaluation reads of the block `inputs`: images as squares, of which nothing is cut off."""

    image_size: Pixels  # pixels
    text_length: TextLength  # longest text, special ids included


@dataclass(frozen=True)
class ImageTextParams(ImageTextInputs):
    """Block `inputs` of a fine-tune on pairs of image and text."""

    crop: views.ViewParams
    rand_augment: RandAugmentParams
    order: OrderParams


def augmented(
    image: Image.Image,
    name: str,
    seed: int,
    position: int,
    params: ImageTextParams,
    rng: np.random.Generator,
) -> np.ndarray:
    """A training view of an RGB image, uint8 [size, size, 3]; `name` tells the images of one
    position apart."""
    view = views.draw(seed, name, position, *image.size, 0.0, params.crop)
    cropped = Image.fromarray(views.apply(image, view, params.image_size))
    return np.asarray(rand_augment(cropped, params.rand_augment, rng))


def pad(texts: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Ids int64 and mask bool, True for tokens: [n, length of the longest text]. Padding is masked, so
    its id may be one of a tokenizer's own."""
    length = max(len(text) for text in texts)
    ids = np.full((len(texts), length), PAD_ID, dtype=np.int64)
    mask = np.zeros((len(texts), length), dtype=bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, True
    return torch.from_numpy(ids), torch.from_numpy(mask)


def stack(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays of one shape as a tensor [n, ...]."""
    return torch.from_numpy(np.stack(arrays))
