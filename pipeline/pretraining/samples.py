"""From rows to masked samples, and from samples to batches (VL-BEiT §2.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.backbone.config import PAD_ID
from model.backbone.mome import DROP_PATH_BRANCHES
from model.pretraining.batches import ImageBatch, PairBatch, StreamBatch, TextBatch
from pipeline.config.limits import Count, ShareAboveZero
from pipeline.data.loading.row_reader import ImageReader, ImageRow, TextReader
from pipeline.data.loading.sampler import SampleIndex
from pipeline.data.transforms import images, views
from pipeline.data.transforms.masking import block_mask, text_mask
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import seeds

# Keys of random numbers, so that validation samples are not masked as those of training are. The
# numbers depend on how the keys are spelled.
TRAIN = "train"
VALIDATION = "held-out"


@dataclass(frozen=True)
class MaskParams:
    """How much is masked."""

    num_masked_patches: Count  # of an image
    min_block: Count  # patches of the smallest block
    text_mask_ratio: ShareAboveZero  # share of the tokens of a text alone
    caption_mask_ratio: ShareAboveZero  # share of the tokens of a caption


@dataclass(frozen=True)
class SampleParams:
    """How a row becomes a sample."""

    seed: int
    image_size: int  # pixels
    patch_size: int  # pixels
    depth: int  # blocks of the backbone
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


class SampleBuilder:
    """Builds masked samples from rows, and batches from samples. All random numbers are keyed by
    the sample's position.

    Args:
        view_params: how to draw new views of a stream's images, which then come without visual
            tokens; None: stored views with their tokens.
    """

    def __init__(
        self,
        params: SampleParams,
        tokenizer: TextTokenizer,
        view_params: Mapping[str, views.ViewParams] | None = None,
    ):
        self.params, self.tokenizer, self.view_params = params, tokenizer, view_params

    def batch(
        self,
        stream: str,
        reader: ImageReader | TextReader,
        indices: Sequence[SampleIndex],
        purpose: str,
    ) -> StreamBatch:
        """Samples of a stream as a batch; `purpose` is TRAIN or VALIDATION."""
        samples = []
        for index in indices:
            rng = seeds.generator(self.params.seed, purpose, stream, index.position)
            samples.append(self._sample(stream, reader, index, rng))
        noise = torch.from_numpy(np.stack([sample.drop_path_noise for sample in samples]))
        text_samples = [sample.text for sample in samples if sample.text is not None]
        image_samples = [sample.image for sample in samples if sample.image is not None]
        if not image_samples:
            return collate_text(text_samples, noise)
        if not text_samples:
            return collate_image(image_samples, noise)
        return PairBatch(collate_text(text_samples), collate_image(image_samples), noise)

    def stored_view(self, row: ImageRow, index: int) -> np.ndarray:
        """The stored view `index` of an image: uint8 [size, size, 3]."""
        return views.apply(images.decode(row.image), row.views[index], self.params.image_size)

    def _sample(
        self, stream: str, reader: Any, index: SampleIndex, rng: np.random.Generator
    ) -> Sample:
        masks = self.params.masks
        noise = rng.random((self.params.depth, DROP_PATH_BRANCHES), dtype=np.float32)
        if stream == "texts":
            ids = reader.get(index.group, index.offset)
            return Sample(noise, text=self._mask_text(ids, masks.text_mask_ratio, rng))
        row, caption = reader.get(index.group, index.offset)
        if self.view_params is None:
            pixels, tokens = self._stored_view_and_tokens(row, rng)
        else:
            pixels, tokens = self._new_view(row, index.position, self.view_params[stream]), None
        image = ImageSample(pixels, self._mask_patches(rng), tokens)
        if stream == "images":
            return Sample(noise, image=image)
        ids = self.tokenizer.encode(caption, self.params.text_length)
        return Sample(noise, self._mask_text(ids, masks.caption_mask_ratio, rng), image)

    def _mask_text(self, ids: np.ndarray, ratio: float, rng: np.random.Generator) -> TextSample:
        original, special = ids.astype(np.int64), self.tokenizer.special
        corrupted, masked = text_mask(
            original,
            ratio,
            mask_id=special.mask,
            ordinary=special.ordinary,
            rng=rng,
        )
        return TextSample(corrupted, masked, original)

    def _stored_view_and_tokens(
        self, row: ImageRow, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of one of the stored views, and its visual tokens, int64 [patches]."""
        assert row.tokens is not None, "stored views have tokens"
        index = int(rng.integers(len(row.views)))
        return self.stored_view(row, index), row.tokens[index].astype(np.int64)

    def _new_view(self, row: ImageRow, position: int, params: views.ViewParams) -> np.ndarray:
        """Pixels of a new view."""
        image = images.decode(row.image)
        luma = images.mean_luma(image)
        view = views.draw(self.params.seed, row.key, position, *image.size, luma, params)
        return views.apply(image, view, self.params.image_size)

    def _mask_patches(self, rng: np.random.Generator) -> np.ndarray:
        masks, grid = self.params.masks, self.params.image_size // self.params.patch_size
        return block_mask(grid, masks.num_masked_patches, masks.min_block, rng)


def collate_text(samples: Sequence[TextSample], noise: Tensor | None = None) -> TextBatch:
    """Pad texts to the longest."""
    length = max(len(sample.ids) for sample in samples)
    shape = len(samples), length
    ids = np.full(shape, PAD_ID, dtype=np.int64)
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
