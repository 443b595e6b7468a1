"""Batches of masked texts, pictures and pairs, as a pure function of the step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.backbone.mome import DROP_PATH_BRANCHES
from model.pretraining.batches import (
    ImageBatch,
    PairBatch,
    PretrainingBatch,
    StreamBatch,
    TextBatch,
)
from pipeline.data.loading.row_reader import ImageReader, ImageRow, TextReader
from pipeline.data.loading.sampler import MicroBatch, OrderParams, SampleIndex, StreamSampler
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
class DataParams:
    """What a global batch is made of."""

    texts: StreamParams
    images: StreamParams
    pairs: StreamParams


@dataclass(frozen=True)
class MaskParams:
    """How much is hidden (VL-BEiT §2.3)."""

    num_masked_patches: int  # of an image
    min_block: int  # patches of the smallest block
    text_mask_ratio: float  # share of the tokens of a text alone
    caption_mask_ratio: float  # share of the tokens of a caption


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


class TextSample(NamedTuple):
    """A text with some of its tokens masked."""

    ids: np.ndarray  # int64 [length]; masked tokens are replaced
    masked: np.ndarray  # bool [length], True for the tokens to predict
    original: np.ndarray  # int64 [length]


class ImageSample(NamedTuple):
    """An image with some of its patches masked."""

    pixels: np.ndarray  # uint8 [size, size, 3]
    masked: np.ndarray  # bool [patches], row-major over the grid
    tokens: np.ndarray | None  # int64 [patches], visual tokens; None for online tokens


class Sample(NamedTuple):
    """What a stream has: a text, an image or both."""

    drop_path_noise: np.ndarray  # float32 [depth, 3] in [0, 1)
    text: TextSample | None = None
    image: ImageSample | None = None


STREAMS = ("texts", "images", "pairs")


def open_rows(
    folders: DataFolders, name: str, params: StreamParams, split: str, *, tokens: bool = True
) -> ImageReader | TextReader:
    """The rows of a stream's sources, each as often as an epoch passes through it; `tokens`: with
    stored views."""
    cache = 2 * params.order.streams * params.order.shuffle_block
    if name == "texts":
        groups = [
            group
            for source, passes in params.sources.items()
            for group in parquet.row_groups(folders.text_tokens / source, split) * passes
        ]
        return TextReader(groups, cache)
    pictures = [
        (group, folders.visual_tokens / source if tokens else None)
        for source, passes in params.sources.items()
        for group in parquet.row_groups(folders.shards / source, split) * passes
    ]
    return ImageReader(pictures, cache, pairs=name == "pairs")


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
        self, name: str, rows: ImageReader | TextReader, units: Sequence[SampleIndex], purpose: str
    ) -> StreamBatch:
        """The stream's part of a batch. `purpose` ("train", "held-out") keeps random numbers
        apart."""
        samples = [
            self._sample(
                name, rows, index, seeds.generator(self.params.seed, purpose, name, index.position)
            )
            for index in units
        ]
        noise = torch.from_numpy(np.stack([sample.drop_path_noise for sample in samples]))
        texts = [sample.text for sample in samples if sample.text is not None]
        pictures = [sample.image for sample in samples if sample.image is not None]
        if not pictures:
            return collate_text(texts, noise)
        if not texts:
            return collate_image(pictures, noise)
        return PairBatch(collate_text(texts), collate_image(pictures), noise)

    def shown(self, picture: ImageRow, index: int) -> np.ndarray:
        """The stored view `index` of a picture: uint8 [size, size, 3]."""
        return views.apply(
            images.decode(picture.image), picture.views[index], self.params.image_size
        )

    def _sample(self, name: str, rows: Any, index: SampleIndex, rng: np.random.Generator) -> Sample:
        masks = self.params.masks
        noise = rng.random((self.params.depth, DROP_PATH_BRANCHES), dtype=np.float32)
        if name == "texts":
            ids = rows.get(index.group, index.offset)
            return Sample(noise, text=self._mask_tokens(ids, masks.text_mask_ratio, rng))
        picture, caption = rows.get(index.group, index.offset)
        if self.draws is None:
            pixels, tokens = self._stored(picture, rng)
        else:
            pixels, tokens = self._drawn(name, picture, index.position), None
        image = ImageSample(pixels, self._masked_patches(rng), tokens)
        if name == "images":
            return Sample(noise, image=image)
        ids = self.tokenizer.encode(caption, self.params.text_length)
        return Sample(noise, self._mask_tokens(ids, masks.caption_mask_ratio, rng), image)

    def _mask_tokens(self, ids: np.ndarray, ratio: float, rng: np.random.Generator) -> TextSample:
        original = ids.astype(np.int64)
        corrupted, masked = text_mask(
            original,
            ratio,
            mask_id=SPECIAL_IDS["[MASK]"],
            vocab_size=self.tokenizer.vocab_size,
            special=len(SPECIAL_IDS),
            rng=rng,
        )
        return TextSample(corrupted, masked, original)

    def _stored(self, picture: ImageRow, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of one of the stored views, and its visual tokens, int64 [patches]."""
        index = int(rng.integers(len(picture.views)))
        return self.shown(picture, index), picture.tokens[index].astype(np.int64)

    def _drawn(self, name: str, picture: ImageRow, position: int) -> np.ndarray:
        """Pixels of a new view."""
        image = images.decode(picture.image)
        view = views.draw(
            self.params.seed,
            picture.key,
            position,
            *image.size,
            images.mean_luma(image),
            self.draws[name],
        )
        return views.apply(image, view, self.params.image_size)

    def _masked_patches(self, rng: np.random.Generator) -> np.ndarray:
        masks = self.params.masks
        return block_mask(
            self.params.image_size // self.params.patch_size,
            masks.num_masked_patches,
            masks.min_block,
            rng,
        )


class PretrainingBatches:
    """Map-style data set: a part of a step to its rows of the global batch, for the streams in
    `names`."""

    def __init__(
        self, folders: DataFolders, streams: DataParams, sampler: Sampler, names: Sequence[str]
    ):
        self.sampler = sampler
        self.rows = {
            name: open_rows(
                folders, name, getattr(streams, name), "train", tokens=sampler.draws is None
            )
            for name in names
        }
        self.orders = {
            name: StreamSampler(
                rows.group_sizes, getattr(streams, name).order, sampler.params.seed, name
            )
            for name, rows in self.rows.items()
        }

    def __getitem__(self, micro_batch: MicroBatch) -> PretrainingBatch:
        streams: dict[str, Any] = {
            name: self.sampler.batch(name, rows, self.orders[name].samples(micro_batch), "train")
            for name, rows in self.rows.items()
        }
        return PretrainingBatch(**streams)


def prepared(batch: StreamBatch) -> StreamBatch:
    """A stream's batch with its pixels normalized, on the device where they are."""
    if isinstance(batch, ImageBatch):
        return normalized(batch)
    if isinstance(batch, PairBatch):
        return batch._replace(image=normalized(batch.image))
    return batch


def normalized(batch: ImageBatch) -> ImageBatch:
    """Images as loaded to images as the model takes them."""
    return batch._replace(pixels=images.normalize(batch.pixels))


def map_images(
    batch: PretrainingBatch, change: Callable[[ImageBatch], ImageBatch]
) -> PretrainingBatch:
    """The batch with the images of its streams changed, those alone and those of pairs."""
    if batch.images is not None:
        batch = batch._replace(images=change(batch.images))
    if batch.pairs is not None:
        pairs = batch.pairs._replace(image=change(batch.pairs.image))
        batch = batch._replace(pairs=pairs)
    return batch


def held_out(rows: ImageReader | TextReader, count: int) -> list[SampleIndex]:
    """The first `count` units of a split in order, or all of them; of a picture with several
    captions, one."""
    units: list[SampleIndex] = []
    seen = set()
    for group, size in enumerate(rows.group_sizes):
        for unit in range(size):
            key = rows.get(group, unit)[0].key if isinstance(rows, ImageReader) else (group, unit)
            if key in seen:
                continue
            seen.add(key)
            units.append(SampleIndex(group, unit, len(units)))
            if len(units) == count:
                return units
    return units


def collate_text(samples: Sequence[TextSample], noise: Tensor | None = None) -> TextBatch:
    """Pad texts to the longest."""
    length = max(len(sample.ids) for sample in samples)
    shape = len(samples), length
    ids = np.full(shape, SPECIAL_IDS["[PAD]"], dtype=np.int64)
    original = ids.copy()
    masked, mask = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for row, sample in enumerate(samples):
        end = len(sample.ids)
        ids[row, :end] = sample.ids
        original[row, :end] = sample.original
        masked[row, :end] = sample.masked
        mask[row, :end] = True
    positions = np.flatnonzero(masked)
    return TextBatch(
        ids=torch.from_numpy(ids),
        mask=None if mask.all() else torch.from_numpy(mask),
        masked_positions=torch.from_numpy(positions),
        targets=torch.from_numpy(original.reshape(-1)[positions]),
        drop_path_noise=noise,
    )


def collate_image(samples: Sequence[ImageSample], noise: Tensor | None = None) -> ImageBatch:
    """Stack images; there are targets where the samples have tokens."""
    masked = np.stack([sample.masked for sample in samples])
    positions = np.flatnonzero(masked)
    tokens = [sample.tokens for sample in samples if sample.tokens is not None]
    targets = torch.from_numpy(np.stack(tokens).reshape(-1)[positions]) if tokens else None
    return ImageBatch(
        pixels=torch.from_numpy(np.stack([sample.pixels for sample in samples])),
        masked=torch.from_numpy(masked),
        masked_positions=torch.from_numpy(positions),
        targets=targets,
        drop_path_noise=noise,
    )
