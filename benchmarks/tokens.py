"""How fast visual tokens are made: `python -m benchmarks.tokens`.

The stage on photo-like 640 x 480 JPEGs with paper scale's eight views of each (decoding, drawing,
encoding, writing) beside the bare encoder on the same views, already decoded. The tokenizer's sizes
are small and medium ones, where decoding weighs most; at the base size the encoder takes ten times
as long and decoding as long as here.

What they cost while training: `benchmarks.training_step --against online`.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.clock import rates, report
from benchmarks.photos import photograph
from model import checkpoint
from model.tokenizer.vqkd import VisualTokenizer, VQKDConfig
from pipeline.config import params
from pipeline.data.shards import parquet, schema
from pipeline.data.transforms import images
from pipeline.tokenizers import visual_tokens
from pipeline.tokenizers.visual_tokens import ViewTokenizer

IMAGES, ROWS, ROUNDS = 16, 2, 2
SIZES = {
    "4 layers of 192": (4, 192, 3),
    "6 layers of 384": (6, 384, 6),
}  # depth, embed_dim, num_heads
WORKERS = 1  # threads that decode, beside the one that encodes


def write(folder: Path) -> None:
    """Image shards."""
    folder.mkdir()
    rows = (
        {
            "key": f"{number}",
            "image": photograph(number),
            "width": 640,
            "height": 480,
            "label": -1,
            "captions": [],
        }
        for number in range(IMAGES)
    )
    train = parquet.write(
        folder, "train", rows, schema.IMAGE_SHARD, rows_per_group=ROWS, groups_per_file=IMAGES
    )
    parquet.write_index(folder, {"train": train})


def ways(root: Path, depth: int, embed_dim: int, num_heads: int) -> dict[str, Callable[[], float]]:
    """What is measured, each in views."""
    torch.manual_seed(0)
    config = VQKDConfig(224, 16, depth, 1, embed_dim, num_heads, 8192, 32, 768, 0.99, 0)
    model = VisualTokenizer(config).eval()
    checkpoint.save(model, root / "tokenizer")
    stream = visual_tokens.load_stream(params.preset("paper"), "images")
    stream = replace(stream, sources=["photos"], batch=ROWS * stream.views)
    view_tokenizer = ViewTokenizer(model, stream)
    rows = parquet.read_rows(root / "photos", "train", ("key", "image"))
    views: list[np.ndarray] = []
    for row in rows:
        views += view_tokenizer.prepare(row["key"], row["image"]).pixels
    batches = [
        images.normalize(torch.from_numpy(np.stack(views[start : start + stream.batch])))
        for start in range(0, len(views), stream.batch)
    ]

    def stage() -> float:
        # Another folder each time: in the same one the stage finds its work done.
        out = Path(tempfile.mkdtemp(dir=root))
        photos, tokenizer = root / "photos", root / "tokenizer"
        return visual_tokens.tokenize(photos, tokenizer, out, stream, workers=WORKERS)["views"]

    def encoder() -> float:
        for batch in batches:
            model.token_ids(batch)
        return len(views)

    return {"stage": stage, "encoder alone": encoder}


def lines(root: Path) -> Iterator[str]:
    """All results."""
    torch.set_num_threads(1)
    write(root / "photos")
    for name, size in SIZES.items():
        speeds = rates(ways(root, *size), ROUNDS)
        stage, encoder = speeds["stage"], speeds["encoder alone"]
        yield (
            f"{name}: stage {stage:.1f} views/s, encoder alone {encoder:.1f}: {stage / encoder:.2f}"
        )


if __name__ == "__main__":
    report(lines)
