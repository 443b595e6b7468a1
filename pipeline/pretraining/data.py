"""The three streams of pretraining: texts, images and pairs, as a pure function of the step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.pretraining.batches import ImageBatch, PairBatch, PretrainingBatch, StreamBatch
from pipeline.config.limits import Passes
from pipeline.data.loading.row_reader import ImageReader, TextReader
from pipeline.data.loading.sampler import MicroBatch, OrderParams, SampleIndex, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.shards.parquet import RowGroup
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.pretraining.samples import TRAIN, SampleBuilder
from pipeline.tokenizers import text

STREAMS = ("texts", "images", "pairs")


@dataclass(frozen=True)
class StreamParams:
    """One of the three streams."""

    sources: dict[str, Passes]  # how often an epoch passes through each source
    order: OrderParams


@dataclass(frozen=True)
class DataParams:
    """What a global batch is made of."""

    texts: StreamParams
    images: StreamParams
    pairs: StreamParams


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
            shards=data / "shards",
            visual_tokens=data / "visual_tokens",
            text_tokens=data / "text_tokens",
            text_tokenizer=text.of_scale(scale),
            visual_tokenizer=data / "visual_tokenizer" / "model",
        )


def open_stream(
    folders: DataFolders, stream: str, params: StreamParams, split: str, *, tokens: bool = True
) -> ImageReader | TextReader:
    """A reader of a stream's sources, each as often as an epoch passes through it; `tokens`: with
    stored views and their visual tokens."""
    cache = 2 * params.order.streams * params.order.shuffle_block
    if stream == "texts":
        texts: list[RowGroup] = []
        for source, passes in params.sources.items():
            if passes:
                texts += parquet.row_groups(folders.text_tokens / source, split) * passes
        return TextReader(texts, cache)
    image_groups: list[tuple[RowGroup, RowGroup | None]] = []
    for source, passes in params.sources.items():
        if not passes:
            continue
        groups = parquet.row_groups(folders.shards / source, split)
        token_groups: list[RowGroup] | list[None] = [None] * len(groups)
        if tokens:
            token_groups = _token_groups(folders.visual_tokens / source, split, len(groups))
        image_groups += list(zip(groups, token_groups, strict=True)) * passes
    return ImageReader(image_groups, cache, pairs=stream == "pairs")


def _token_groups(folder: Path, split: str, expected: int) -> list[RowGroup]:
    """The row groups of a source's visual tokens.

    Raises:
        UserError: there are not as many as of its images.
    """
    groups = parquet.row_groups(folder, split)
    if len(groups) != expected:
        raise UserError(
            f"{folder}: {len(groups)} row groups of {split!r} belong to other images, of which there "
            f"are {expected}; run the visual_tokens stage again"
        )
    return groups


def open_validation(
    folders: DataFolders, stream: str, data: DataParams, sources: Sequence[str]
) -> ImageReader | TextReader:
    """A reader of the validation split of some sources."""
    order = getattr(data, stream).order
    return open_stream(folders, stream, StreamParams(dict.fromkeys(sources, 1), order), "val")


def first_samples(reader: ImageReader | TextReader, count: int) -> list[SampleIndex]:
    """The first `count` samples in order, or all of them; one of an image with several captions."""
    samples: list[SampleIndex] = []
    seen = set()
    for group, size in enumerate(reader.group_sizes):
        for offset in range(size):
            key: Any = (group, offset)
            if isinstance(reader, ImageReader):
                key = reader.get(group, offset)[0].key
            if key in seen:
                continue
            seen.add(key)
            samples.append(SampleIndex(group, offset, len(samples)))
            if len(samples) == count:
                return samples
    return samples


class PretrainingBatches:
    """Map-style data set of training: a micro-batch to its samples of the named streams."""

    def __init__(
        self, folders: DataFolders, data: DataParams, builder: SampleBuilder, names: Sequence[str]
    ):
        self.builder = builder
        self.readers: dict[str, ImageReader | TextReader] = {}
        self.samplers: dict[str, StreamSampler] = {}
        for name in names:
            params: StreamParams = getattr(data, name)
            stored = builder.view_params is None
            reader = open_stream(folders, name, params, "train", tokens=stored)
            seed = builder.params.seed
            self.readers[name] = reader
            self.samplers[name] = StreamSampler(reader.group_sizes, params.order, seed, name)

    def __getitem__(self, micro_batch: MicroBatch) -> PretrainingBatch:
        streams: dict[str, Any] = {}
        for name, reader in self.readers.items():
            indices = self.samplers[name].samples(micro_batch)
            streams[name] = self.builder.batch(name, reader, indices, TRAIN)
        return PretrainingBatch(**streams)


def normalize_stream(batch: StreamBatch) -> StreamBatch:
    """A stream's batch with its pixels normalized, on the device where they are."""
    if isinstance(batch, ImageBatch):
        return normalize_images(batch)
    if isinstance(batch, PairBatch):
        return batch._replace(image=normalize_images(batch.image))
    return batch


def normalize_images(batch: ImageBatch) -> ImageBatch:
    """A batch of images as loaded, with pixels as the model takes them."""
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
