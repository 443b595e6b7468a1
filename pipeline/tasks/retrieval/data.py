"""Pictures and captions of the retrieval tasks: augmented pairs for training, everything in order for evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.mome import DROP_PATH_DRAWS
from pipeline import distributed, images, seeds, shards, views
from pipeline.augment import RandAugmentParams, rand_augment
from pipeline.rows import PictureRows
from pipeline.sampling import LaneOrder, OrderParams, Unit
from pipeline.text import SPECIAL_IDS, TextTokenizer

FUSION_PASSES = 3  # the true pair, a hard negative picture, a hard negative text


@dataclass(frozen=True)
class PairParams:
    """How a training pair is made."""

    image_size: int  # pixels
    text_length: int  # longest caption, special ids included
    crop: views.ViewParams
    rand_augment: RandAugmentParams
    order: OrderParams


class PairBatches:
    """Map-style data set: step to this worker's rows of the global batch."""

    def __init__(self, folder: Path, tokenizer: TextTokenizer, params: PairParams, depth: int, seed: int):
        self.tokenizer, self.params, self.depth, self.seed = tokenizer, params, depth, seed
        cache = 2 * params.order.lanes * params.order.window
        self.rows = PictureRows([(group, None) for group in shards.row_groups(folder, "train")], cache, pairs=True)
        self.order = LaneOrder(self.rows.units, params.order, seed, "pairs")
        self.rank, self.world = distributed.rank(), distributed.world()

    def __getitem__(self, step: int) -> dict[str, Any]:
        return collate([self._sample(unit) for unit in self.order.step(step, self.rank, self.world)])

    def _sample(self, unit: Unit) -> dict[str, Any]:
        rng = seeds.generator(self.seed, "pair", unit.position)
        picture, caption = self.rows.get(unit.group, unit.unit)
        return {
            "pixels": self._augmented(images.decode(picture.image), unit.position, rng),
            "ids": self.tokenizer.encode(caption, self.params.text_length),
            "image": seeds.key("picture", picture.key) >> 65,  # 63 bits, equal for captions of one picture
            "negatives": rng.random(2),
            "uniforms": rng.random((2 + FUSION_PASSES, self.depth, DROP_PATH_DRAWS), dtype=np.float32),
        }

    def _augmented(self, image: Image.Image, position: int, rng: np.random.Generator) -> np.ndarray:
        view = views.draw(self.seed, "pair", position, *image.size, 0.0, self.params.crop)
        cropped = Image.fromarray(views.apply(image, view, self.params.image_size))
        return np.asarray(rand_augment(cropped, self.params.rand_augment, rng))


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack samples; texts are padded to the longest."""
    ids, mask = pad([sample["ids"] for sample in samples])
    uniforms = torch.from_numpy(np.stack([sample["uniforms"] for sample in samples], axis=1))  # [5, n, depth, 3]
    return {
        "pixels": torch.from_numpy(np.stack([sample["pixels"] for sample in samples])),
        "ids": ids,
        "mask": mask,
        "image": torch.tensor([sample["image"] for sample in samples]),
        "negatives": torch.from_numpy(np.stack([sample["negatives"] for sample in samples])),
        "uniforms": uniforms,
    }


def pad(texts: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Ids int64 and mask bool [n, length of the longest]."""
    length = max(len(text) for text in texts)
    ids = np.full((len(texts), length), SPECIAL_IDS["[PAD]"], dtype=np.int64)
    mask = np.zeros((len(texts), length), dtype=bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, True
    return torch.from_numpy(ids), torch.from_numpy(mask)


@dataclass(frozen=True)
class EvaluationSet:
    """All pictures and captions of a split, in order."""

    keys: list[str]  # of the pictures
    captions: list[str]
    pixels: Tensor  # uint8 [images, size, size, 3], plain resize
    ids: list[np.ndarray]  # of each caption
    owner: Tensor  # int64 [captions], the picture of each


def evaluation_set(folder: Path, split: str, tokenizer: TextTokenizer, image_size: int,
                   text_length: int) -> EvaluationSet:
    """Read a split."""
    keys, captions, pixels, owner = [], [], [], []
    for row in shards.read_rows(folder, split, ("key", "image", "captions")):
        owner += [len(keys)] * len(row["captions"])
        keys.append(row["key"])
        captions += row["captions"]
        pixels.append(images.square(images.decode(row["image"]), image_size))
    ids = [tokenizer.encode(caption, text_length) for caption in captions]
    return EvaluationSet(keys, captions, torch.from_numpy(np.stack(pixels)), ids, torch.tensor(owner))
