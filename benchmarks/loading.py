"""How fast the images of pretraining are loaded: `python -m benchmarks.loading`.

Shards of generated 640 x 480 JPEGs (110 kB each), read as at paper scale: decoded, cropped to 224
pixels, flipped and color-jittered as the stored view says, with its tokens and a mask. Beside it the
usual chain on the same bytes (torchvision's transforms on PIL images), and decoding and resizing
alone, the least that any loader does. One thread.
"""

import io
import os
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
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
    DataParams,
    PretrainingBatches,
    StreamParams,
)
from pipeline.pretraining.samples import MaskParams, SampleBuilder, SampleParams
from pipeline.pretraining.variants import Dimensions
from pipeline.tokenizers import visual_tokens
from pipeline.tokenizers.visual_tokens import VisualTokensParams

IMAGES, DISTINCT = 1000, 125
ROWS = 100  # of a row group, as at paper scale
BATCH = 40
ROUNDS = 5
EPOCHS = 10
SKIPPED = 400_000  # steps
COMMON = "pretrain.common"
IMAGENET = 13_500_000  # images of the largest source, about


def write(root: Path, encoded: list[bytes]) -> DataFolders:
    """Image shards, and visual tokens with views as they are drawn at paper scale."""
    folders = DataFolders(root / "shards", root / "tokens", root, root, root)
    stream = visual_tokens.load_stream(params.preset("paper"), "images")
    rows: list[dict[str, Any]] = [
        {
            "key": f"{number}",
            "image": data,
            "width": 640,
            "height": 480,
            "label": -1,
            "captions": [],
        }
        for number, data in enumerate(islice(cycle(encoded), IMAGES))
    ]
    shards, tokens = folders.shards / "photos", folders.visual_tokens / "photos"
    for folder in (shards, tokens):
        folder.mkdir(parents=True)
    train = parquet.write(
        shards, "train", rows, schema.IMAGE_SHARD, rows_per_group=ROWS, groups_per_file=IMAGES
    )
    parquet.write_index(shards, {"train": train})
    drawn = [_tokens(row["key"], stream) for row in rows]
    train = parquet.write(
        tokens,
        "train",
        drawn,
        schema.visual_tokens(stream.views, 196),
        rows_per_group=ROWS,
        groups_per_file=IMAGES,
    )
    parquet.write_index(tokens, {"train": train})
    return folders


def _tokens(key: str, stream: VisualTokensParams) -> dict[str, Any]:
    drawn = [
        views.draw(1, key, index, 640, 480, 120.0, stream.view) for index in range(stream.views)
    ]
    ids = np.random.default_rng(int(key)).integers(8192, size=196 * stream.views, dtype=np.uint16)
    return {"key": key, **views.columns(drawn), "tokens": ids}


def loader(folders: DataFolders) -> PretrainingBatches:
    """The stream of images, in small batches."""
    paper = params.preset("paper")
    size = paper.load(Dimensions, f"{COMMON}.dimensions")
    masks = paper.load(MaskParams, f"{COMMON}.masks")
    sample = SampleParams(
        seed=1,
        image_size=size.image_size,
        patch_size=size.patch_size,
        depth=size.depth,
        text_length=size.caption_length,
        masks=masks,
    )
    stream = StreamParams({"photos": 1}, OrderParams(streams=4, shuffle_block=2, batch_size=BATCH))
    tokenizer: Any = None  # images need none
    builder = SampleBuilder(sample, tokenizer)
    return PretrainingBatches(folders, DataParams(stream, stream, stream), builder, ["images"])


def usual(encoded: list[bytes], *, floats: bool) -> Callable[[], float]:
    """torchvision's chain with BEiT's color jitter; `floats`: to a normalized float tensor, as the
    chain usually ends."""
    import_timm()
    from torchvision import transforms

    view = visual_tokens.load_stream(params.preset("paper"), "images").view
    bicubic = transforms.InterpolationMode.BICUBIC
    chain = [
        transforms.RandomResizedCrop(224, tuple(view.crop_scale), interpolation=bicubic),
        transforms.RandomHorizontalFlip(view.flip),
        transforms.ColorJitter(*[view.color_jitter] * 3),
    ]
    chain += (
        [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
        if floats
        else [np.asarray]
    )
    transform = transforms.Compose(chain)

    def way() -> float:
        for data in encoded:
            with Image.open(io.BytesIO(data)) as image:
                transform(image.convert("RGB"))
        return len(encoded)

    return way


class Least:
    """Data set of as many images as a micro-batch has, decoded and resized as a view says."""

    def __init__(self, batches: PretrainingBatches, encoded: list[bytes]):
        reader: Any = batches.readers["images"]
        self.boxes = [reader.get(0, row)[0].views[0].box for row in range(ROWS)]
        self.encoded = encoded

    def __getitem__(self, micro_batch: MicroBatch) -> int:
        for number in range(BATCH // micro_batch.count):
            position = micro_batch.step * BATCH + number
            image = Image.open(io.BytesIO(self.encoded[position % len(self.encoded)]))
            image.load()
            image.resize((224, 224), images.INTERPOLATION, box=self.boxes[number])
        return micro_batch.step


def epochs(batches: Any) -> Callable[[], float]:
    """An epoch's worth of batches at a time, going on and on."""
    steps = iter(range(1 << 30))

    def way() -> float:
        for step in islice(steps, IMAGES // BATCH):
            batches[MicroBatch(step)]
        return IMAGES

    return way


def with_workers(batches: Any, workers: int) -> float:
    """Images per second of some loader processes, once all of them run."""
    order = [
        MicroBatch(step, index, 2) for step in range(3 * IMAGES // BATCH) for index in range(2)
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
    paper = params.preset("paper")
    order = paper.load(OrderParams, f"{COMMON}.data.images.order")
    rows = paper.block("shard.common", "shard.imagenet22k")["rows_per_group"]
    start = time.perf_counter()
    sampler = StreamSampler([rows] * (IMAGENET // rows), order, 1, "images")
    sampler.samples(MicroBatch(0))
    begun = time.perf_counter()
    StreamSampler(sampler.group_sizes, order, 1, "images").samples(MicroBatch(SKIPPED))
    return begun - start, time.perf_counter() - begun


def lines(root: Path) -> Iterator[str]:
    """All results."""
    torch.set_num_threads(1)
    encoded = [photograph(seed) for seed in range(DISTINCT)]
    yield f"{sum(map(len, encoded)) / DISTINCT / 1000:.0f} kB per image"
    batches = loader(write(root, encoded))
    bound = Least(batches, encoded)
    ways = {
        "ours": epochs(batches),
        "usual": usual(encoded, floats=False),
        "usual, to floats": usual(encoded, floats=True),
        "bound": epochs(bound),
    }
    speeds = rates(ways, ROUNDS)
    for name, rate in speeds.items():
        yield f"{name:20} {rate:7.1f} images/s   ours is {speeds['ours'] / rate:5.2f} times this"
    for name, data in (("ours", batches), ("bound", bound)):
        one, two = (with_workers(data, workers) for workers in (1, 2))
        yield (
            f"{name:20} {one:7.1f} images/s with 1 loader worker, "
            f"{two:7.1f} with 2: {two / one:.2f} times"
        )
    epoch, sizes = epochs(batches), []
    for _ in range(EPOCHS):
        epoch()
        sizes.append(f"{resident():.0f}")
    yield f"memory after each of {EPOCHS} epochs: {' '.join(sizes)} MiB"
    begun, skipped = skipping()
    yield (
        f"first step of {IMAGENET:,} images found in {begun:.2f} s, "
        f"step {SKIPPED:,} in {skipped:.2f} s"
    )


if __name__ == "__main__":
    report(lines)
