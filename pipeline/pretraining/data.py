"""Batches of masked texts, pictures and pairs, as a pure function of the step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.backbone.mome import DROP_PATH_DRAWS
from pipeline.data.loading.row_reader import Picture, PictureRows, TextRows
from pipeline.data.loading.sampler import LaneOrder, OrderParams, Part, Unit
from pipeline.data.shards import parquet
from pipeline.data.transforms import images, views
from pipeline.data.transforms.masking import block_mask, text_mask
from pipeline.tokenizers.text import SPECIAL_IDS, TextTokenizer
from pipeline.utils import seeds


@dataclass(frozen=True)
class StreamParams:
    """One of the three streams."""

    sources: dict[str, int]  # how often an epoch passes through each source
    order: OrderParams


@dataclass(frozen=True)
class StreamsParams:
    """What a global batch is made of."""

    texts: StreamParams
    images: StreamParams
    pairs: StreamParams


@dataclass(frozen=True)
class MaskParams:
    """How much is hidden (VL-BEiT §2.3)."""

    patches: int  # of a picture
    min_block: int  # patches of the smallest block
    mlm: float  # share of the tokens of a text alone
    mvlm: float  # share of the tokens of a caption


@dataclass(frozen=True)
class DataFolders:
    """Where the stages before pretraining left their outputs."""

    shards: Path
    visual_tokens: Path
    text_tokens: Path
    text_tokenizer: Path  # file
    visual_tokenizer: Path  # model folder, read for online tokens

    @classmethod
    def of(cls, scale: str) -> "DataFolders":
        """The folders of a scale, relative to the project's root."""
        data = Path("data", scale)
        return cls(
            data / "shards",
            data / "visual_tokens",
            data / "text_tokens",
            data / "text_tokenizer" / "spm.model",
            data / "visual_tokenizer" / "model",
        )


@dataclass(frozen=True)
class SampleParams:
    """All that turns a unit into a sample."""

    seed: int
    image_size: int
    patch_size: int
    depth: int
    text_length: int  # of captions, special ids included
    masks: MaskParams


STREAMS = ("texts", "images", "pairs")


def open_rows(
    folders: DataFolders, name: str, params: StreamParams, split: str, *, tokens: bool = True
) -> PictureRows | TextRows:
    """The rows of a stream's sources, each as often as an epoch passes through it; `tokens`: with
    stored views."""
    cache = 2 * params.order.lanes * params.order.window
    if name == "texts":
        groups = [
            group
            for source, passes in params.sources.items()
            for group in parquet.row_groups(folders.text_tokens / source, split) * passes
        ]
        return TextRows(groups, cache)
    pictures = [
        (group, folders.visual_tokens / source if tokens else None)
        for source, passes in params.sources.items()
        for group in parquet.row_groups(folders.shards / source, split) * passes
    ]
    return PictureRows(pictures, cache, pairs=name == "pairs")


class Sampler:
    """Turns units into masked samples and samples into batches; every draw is keyed by the unit's
    position.

    draws: how to draw new views of a stream's pictures, which then have no tokens yet; None: stored
    views.
    """

    def __init__(
        self,
        params: SampleParams,
        tokenizer: TextTokenizer,
        draws: Mapping[str, views.ViewParams] | None = None,
    ):
        self.params, self.tokenizer, self.draws = params, tokenizer, draws

    def batch(
        self, name: str, rows: PictureRows | TextRows, units: Sequence[Unit], purpose: str
    ) -> dict[str, Any]:
        """The stream's part of a batch. `purpose` ("train", "held-out") keeps random numbers
        apart."""
        samples = [
            self._sample(
                name, rows, unit, seeds.generator(self.params.seed, purpose, name, unit.position)
            )
            for unit in units
        ]
        batch: dict[str, Any] = {
            "uniforms": torch.from_numpy(np.stack([sample["uniforms"] for sample in samples]))
        }
        if name != "images":
            batch["text"] = collate_text([sample["text"] for sample in samples])
        if name != "texts":
            batch["image"] = collate_image([sample["image"] for sample in samples])
        return batch

    def shown(self, picture: Picture, index: int) -> np.ndarray:
        """The stored view `index` of a picture: uint8 [size, size, 3]."""
        return views.apply(
            images.decode(picture.image), picture.views[index], self.params.image_size
        )

    def _sample(self, name: str, rows: Any, unit: Unit, rng: np.random.Generator) -> dict[str, Any]:
        sample: dict[str, Any] = {
            "uniforms": rng.random((self.params.depth, DROP_PATH_DRAWS), dtype=np.float32)
        }
        if name == "texts":
            sample["text"] = self._hide_tokens(
                rows.get(unit.group, unit.unit), self.params.masks.mlm, rng
            )
            return sample
        picture, caption = rows.get(unit.group, unit.unit)
        seen = (
            self._stored(picture, rng)
            if self.draws is None
            else self._drawn(name, picture, unit.position)
        )
        sample["image"] = {**seen, "masked": self._hidden_patches(rng)}
        if name == "pairs":
            ids = self.tokenizer.encode(caption, self.params.text_length)
            sample["text"] = self._hide_tokens(ids, self.params.masks.mvlm, rng)
        return sample

    def _hide_tokens(
        self, ids: np.ndarray, ratio: float, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        corrupted, chosen = text_mask(
            ids.astype(np.int64),
            ratio,
            mask_id=SPECIAL_IDS["[MASK]"],
            vocab_size=self.tokenizer.vocab_size,
            special=len(SPECIAL_IDS),
            rng=rng,
        )
        return {"ids": corrupted, "chosen": chosen, "original": ids.astype(np.int64)}

    def _stored(self, picture: Picture, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One of the stored views, with its tokens."""
        index = int(rng.integers(len(picture.views)))
        return {
            "pixels": self.shown(picture, index),
            "tokens": picture.tokens[index].astype(np.int64),
        }

    def _drawn(self, name: str, picture: Picture, position: int) -> dict[str, np.ndarray]:
        """A new view."""
        image = images.decode(picture.image)
        view = views.draw(
            self.params.seed,
            picture.key,
            position,
            *image.size,
            images.mean_grey(image),
            self.draws[name],
        )
        return {"pixels": views.apply(image, view, self.params.image_size)}

    def _hidden_patches(self, rng: np.random.Generator) -> np.ndarray:
        masks = self.params.masks
        return block_mask(
            self.params.image_size // self.params.patch_size, masks.patches, masks.min_block, rng
        )


class PretrainingBatches:
    """Map-style data set: a part of a step to its rows of the global batch, for the streams in
    `names`."""

    def __init__(
        self, folders: DataFolders, streams: StreamsParams, sampler: Sampler, names: Sequence[str]
    ):
        self.sampler = sampler
        self.rows = {
            name: open_rows(
                folders, name, getattr(streams, name), "train", tokens=sampler.draws is None
            )
            for name in names
        }
        self.orders = {
            name: LaneOrder(rows.units, getattr(streams, name).order, sampler.params.seed, name)
            for name, rows in self.rows.items()
        }

    def __getitem__(self, part: Part) -> dict[str, Any]:
        return {
            name: self.sampler.batch(name, rows, self.orders[name].part(*part), "train")
            for name, rows in self.rows.items()
        }


def prepared(part: dict[str, Any]) -> dict[str, Any]:
    """A stream's part of a batch with its pixels normalised, on the device where they are."""
    if "image" not in part:
        return part
    return {**part, "image": {**part["image"], "pixels": images.normalise(part["image"]["pixels"])}}


def held_out(rows: PictureRows | TextRows, count: int) -> list[Unit]:
    """The first `count` units of a split in order, or all of them; of a picture with several
    captions, one."""
    units: list[Unit] = []
    seen = set()
    for group, size in enumerate(rows.units):
        for unit in range(size):
            key = rows.get(group, unit)[0].key if isinstance(rows, PictureRows) else (group, unit)
            if key in seen:
                continue
            seen.add(key)
            units.append(Unit(group, unit, len(units)))
            if len(units) == count:
                return units
    return units


def collate_text(samples: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor | None]:
    """Pad texts to the longest.

    `ids` int64 and `mask` bool [batch, length], the latter None where nothing is padded; `places`
    and `targets` int64 of the hidden tokens.
    """
    length = max(len(sample["ids"]) for sample in samples)
    ids = np.full((len(samples), length), SPECIAL_IDS["[PAD]"], dtype=np.int64)
    original, chosen, mask = (
        ids.copy(),
        np.zeros(ids.shape, dtype=bool),
        np.zeros(ids.shape, dtype=bool),
    )
    for row, sample in enumerate(samples):
        end = len(sample["ids"])
        ids[row, :end], original[row, :end], chosen[row, :end] = (
            sample["ids"],
            sample["original"],
            sample["chosen"],
        )
        mask[row, :end] = True
    places = np.flatnonzero(chosen)
    arrays = {"ids": ids, "places": places, "targets": original.reshape(-1)[places]}
    return {
        **{name: torch.from_numpy(array) for name, array in arrays.items()},
        "mask": None if mask.all() else torch.from_numpy(mask),
    }


def collate_image(samples: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Stack pictures. `pixels` uint8 [batch, size, size, 3]; `places` and `targets` int64 of the
    hidden patches, the latter where the samples have tokens."""
    masked = np.stack([sample["masked"] for sample in samples])
    places = np.flatnonzero(masked)
    arrays = {
        "pixels": np.stack([sample["pixels"] for sample in samples]),
        "masked": masked,
        "places": places,
    }
    if "tokens" in samples[0]:
        arrays["targets"] = np.stack([sample["tokens"] for sample in samples]).reshape(-1)[places]
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
