"""Pictures and captions of the retrieval tasks: augmented pairs for training, everything in order
for evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from pipeline.data.loading.row_reader import ImageReader
from pipeline.data.loading.sampler import MicroBatch, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images
from pipeline.tasks.image_text_inputs import PairParams, augmented, pad
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import seeds

FUSION_PASSES = 3  # the true pair, a hard negative picture, a hard negative text


class PairBatches:
    """Map-style data set: a part of a step to its rows of the global batch."""

    def __init__(
        self, folder: Path, tokenizer: TextTokenizer, params: PairParams, depth: int, seed: int
    ):
        self.tokenizer, self.params, self.depth, self.seed = tokenizer, params, depth, seed
        cache = 2 * params.order.streams * params.order.shuffle_block
        self.rows = ImageReader(
            [(group, None) for group in parquet.row_groups(folder, "train")], cache, pairs=True
        )
        self.order = StreamSampler(self.rows.group_sizes, params.order, seed, "pairs")

    def __getitem__(self, micro_batch: MicroBatch) -> dict[str, Any]:
        return collate([self._sample(index) for index in self.order.samples(micro_batch)])

    def _sample(self, index: SampleIndex) -> dict[str, Any]:
        rng = seeds.generator(self.seed, "pair", index.position)
        picture, caption = self.rows.get(index.group, index.offset)
        return {
            "pixels": augmented(
                images.decode(picture.image), "pair", self.seed, index.position, self.params, rng
            ),
            "ids": self.tokenizer.encode(caption, self.params.text_length),
            "image": seeds.key("picture", picture.key)
            >> 65,  # 63 bits, equal for captions of one picture
            "negatives": rng.random(2),
            "drop_path_noise": rng.random(
                (2 + FUSION_PASSES, self.depth, DROP_PATH_BRANCHES), dtype=np.float32
            ),
        }


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack samples; texts are padded to the longest."""
    ids, mask = pad([sample["ids"] for sample in samples])
    drop_path_noise = torch.from_numpy(
        np.stack([sample["drop_path_noise"] for sample in samples], axis=1)
    )  # [5, n, depth, 3]
    return {
        "pixels": torch.from_numpy(np.stack([sample["pixels"] for sample in samples])),
        "ids": ids,
        "mask": mask,
        "image": torch.tensor([sample["image"] for sample in samples]),
        "negatives": torch.from_numpy(np.stack([sample["negatives"] for sample in samples])),
        "drop_path_noise": drop_path_noise,
    }


@dataclass(frozen=True)
class EvaluationSet:
    """All pictures and captions of a split, in order."""

    keys: list[str]  # of the pictures
    captions: list[str]
    pixels: Tensor  # uint8 [images, size, size, 3], plain resize
    ids: list[np.ndarray]  # of each caption
    owner: Tensor  # int64 [captions], the picture of each


def evaluation_set(
    folder: Path, split: str, tokenizer: TextTokenizer, image_size: int, text_length: int
) -> EvaluationSet:
    """Read a split."""
    keys, captions, pixels, owner = [], [], [], []
    for row in parquet.read_rows(folder, split, ("key", "image", "captions")):
        owner += [len(keys)] * len(row["captions"])
        keys.append(row["key"])
        captions += row["captions"]
        pixels.append(images.square(images.decode(row["image"]), image_size))
    ids = [tokenizer.encode(caption, text_length) for caption in captions]
    return EvaluationSet(
        keys, captions, torch.from_numpy(np.stack(pixels)), ids, torch.tensor(owner)
    )
