"""How fast pretraining's pictures are loaded: `python -m benchmarks.loading`.

Shards of generated 640 x 480 JPEGs (110 kB each), read as at paper scale: decoded, cropped to 224
pixels, flipped and coloured as the stored view says, with its tokens and a mask. Beside it the
usual chain on the same bytes (torchvision's transforms on PIL pictures), and decoding and resizing
alone, which is the least that any loader does. One thread.
"""

import io
import os
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks.clock import rates, report
from benchmarks.photos import photograph
from model.timm_import import import_timm
from pipeline.config import params
from pipeline.data.loading.sampler import MicroBatch, OrderParams, StreamSampler
from pipeline.data.shards import parquet, schema
from pipeline.data.transforms import images, views
from pipeline.pretraining.data import (
    DataFolders,
    MaskParams,
    PretrainingBatches,
    SampleParams,
    Sampler,
    StreamParams,
    StreamsParams,
)
from pipeline.pretraining.task import SizeParams
from pipeline.tokenizers.visual_tokens import StreamViewsParams

PICTURES, DISTINCT = 1000, 125
ROWS = 100  # of a row group, as at paper scale
BATCH = 40
ROUNDS = 5
EPOCHS = 10
SKIPPED = 400_000  # steps
COMMON = "paper.pretrain.common"
IMAGENET = 13_500_000  # pictures of the largest source, about


def write(root: Path, pictures: list[bytes]) -> DataFolders:
    """Image shards, and visual tokens with views as they are drawn at paper scale."""
    folders = DataFolders(root / "shards", root / "tokens", root, root, root)
    stream = params.load_shared(StreamViewsParams, "paper.visual_tokens.images")
    rows = [
        {
            "key": f"{number}",
            "image": data,
            "width": 640,
            "height": 480,
            "label": -1,
            "captions": [],
        }
        for number, data in enumerate(islice(cycle(pictures), PICTURES))
    ]
    place, tokens = folders.shards / "photos", folders.visual_tokens / "photos"
    for folder in (place, tokens):
        folder.mkdir(parents=True)
    parquet.write_index(
        place,
        {
            "train": parquet.write(
                place,
                "train",
                rows,
                schema.IMAGE_SHARD,
                rows_per_group=ROWS,
                groups_per_file=PICTURES,
            )
        },
    )
    table = pa.Table.from_pylist(
        [_tokens(row["key"], stream) for row in rows], schema.visual_tokens(stream.views, 196)
    )
    pq.write_table(
        table, tokens / parquet.file_name("train", 0), row_group_size=ROWS, compression="zstd"
    )
    return folders


def _tokens(key: str, stream: StreamViewsParams) -> dict[str, Any]:
    drawn = [
        views.draw(1, key, index, 640, 480, 120.0, stream.draw) for index in range(stream.views)
    ]
    ids = np.random.default_rng(int(key)).integers(8192, size=196 * stream.views, dtype=np.uint16)
    return {"key": key, **views.columns(drawn), "tokens": ids}


def loader(folders: DataFolders) -> PretrainingBatches:
    """The stream of pictures, in small batches."""
    size = params.load_shared(SizeParams, f"{COMMON}.size")
    masks = params.load_shared(MaskParams, f"{COMMON}.masks")
    sample = SampleParams(
        1, size.image_size, size.patch_size, size.depth, size.caption_length, masks
    )
    stream = StreamParams({"photos": 1}, OrderParams(streams=4, shuffle_block=2, batch_size=BATCH))
    return PretrainingBatches(
        folders, StreamsParams(stream, stream, stream), Sampler(sample, None), ["images"]
    )


def usual(pictures: list[bytes], *, floats: bool) -> Callable[[], float]:
    """torchvision's chain with BEiT's jitter; `floats`: to a normalised float tensor, as the chain
    usually ends."""
    import_timm()
    from torchvision import transforms

    draw = params.load_shared(StreamViewsParams, "paper.visual_tokens.images").draw
    chain = [
        transforms.RandomResizedCrop(
            224, (draw.crop_min, draw.crop_max), interpolation=transforms.InterpolationMode.BICUBIC
        ),
        transforms.RandomHorizontalFlip(draw.flip),
        transforms.ColorJitter(*[draw.jitter] * 3),
    ]
    chain += (
        [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
        if floats
        else [np.asarray]
    )
    transform = transforms.Compose(chain)

    def way() -> float:
        for data in pictures:
            with Image.open(io.BytesIO(data)) as image:
                transform(image.convert("RGB"))
        return len(pictures)

    return way


class Least:
    """Data set of as many pictures as a part of a step has, that are decoded, and resized as a view
    says."""

    def __init__(self, batches: PretrainingBatches, pictures: list[bytes]):
        self.boxes = [batches.rows["images"].get(0, row)[0].views[0].box for row in range(ROWS)]
        self.pictures = pictures

    def __getitem__(self, micro_batch: MicroBatch) -> int:
        for number in range(BATCH // micro_batch.count):
            image = Image.open(
                io.BytesIO(self.pictures[(micro_batch.step * BATCH + number) % len(self.pictures)])
            )
            image.load()
            image.resize((224, 224), images.INTERPOLATION, box=self.boxes[number])
        return micro_batch.step


def epochs(batches: Any) -> Callable[[], float]:
    """An epoch's worth of batches at a time, going on and on."""
    steps = iter(range(1 << 30))

    def way() -> float:
        for step in islice(steps, PICTURES // BATCH):
            batches[MicroBatch(step)]
        return PICTURES

    return way


def with_workers(batches: Any, workers: int) -> float:
    """Pictures per second of some loader processes, once all of them run."""
    order = [
        MicroBatch(step, index, 2) for step in range(3 * PICTURES // BATCH) for index in range(2)
    ]
    arriving = iter(DataLoader(batches, batch_size=None, sampler=order, num_workers=workers))
    for _ in islice(arriving, 4 * workers):
        pass
    start = time.perf_counter()
    count = sum(1 for _ in arriving) * BATCH / 2
    return count / (time.perf_counter() - start)


def resident() -> float:
    """MiB of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def skipping() -> tuple[float, float]:
    """Seconds until a data set of ImageNet's size at paper scale is in order, and until step
    400,000 is found."""
    order = params.load_shared(OrderParams, f"{COMMON}.streams.images.order")
    rows = params.subtree("paper.shard.imagenet22k.rows_per_group")
    start = time.perf_counter()
    found = StreamSampler([rows] * (IMAGENET // rows), order, 1, "images")
    found.samples(MicroBatch(0))
    begun = time.perf_counter()
    StreamSampler(found.group_sizes, order, 1, "images").samples(MicroBatch(SKIPPED))
    return begun - start, time.perf_counter() - begun


def lines(root: Path) -> Iterator[str]:
    """All results."""
    torch.set_num_threads(1)
    pictures = [photograph(seed) for seed in range(DISTINCT)]
    yield f"{sum(map(len, pictures)) / DISTINCT / 1000:.0f} kB per picture"
    batches = loader(write(root, pictures))
    bound = Least(batches, pictures)
    found = rates(
        {
            "ours": epochs(batches),
            "usual": usual(pictures, floats=False),
            "usual, to floats": usual(pictures, floats=True),
            "bound": epochs(bound),
        },
        ROUNDS,
    )
    for name, rate in found.items():
        yield f"{name:20} {rate:7.1f} images/s   ours is {found['ours'] / rate:5.2f} times this"
    for name, data in (("ours", batches), ("bound", bound)):
        one, two = (with_workers(data, workers) for workers in (1, 2))
        yield f"{name:20} {one:7.1f} images/s with 1 loader worker, {two:7.1f} with 2: {two / one:.2f} times"
    epoch, sizes = epochs(batches), []
    for _ in range(EPOCHS):
        epoch()
        sizes.append(f"{resident():.0f}")
    yield f"memory after each of {EPOCHS} epochs: {' '.join(sizes)} MiB"
    begun, skipped = skipping()
    yield f"first step of {IMAGENET:,} pictures found in {begun:.2f} s, step {SKIPPED:,} in {skipped:.2f} s"


if __name__ == "__main__":
    report(lines)
