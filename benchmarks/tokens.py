"""How fast visual tokens are made: `python -m benchmarks.tokens`.

The stage on photo-like 640 x 480 JPEGs with paper scale's eight views of each (decoding, drawing,
encoding, writing) beside the bare encoder on the same views, already decoded. The tokenizer's sizes
are small and medium ones, where decoding weighs most; at the base size the encoder takes ten times
as long and decoding as long as here.

What it costs to make them while training is told by `benchmarks.training_step --against online`.
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
from pipeline.tokenizers.visual_tokens import Tokens, VisualTokensParams

PICTURES, ROWS, ROUNDS = 16, 2, 2
SIZES = {"4 layers of 192": (4, 192, 3), "6 layers of 384": (6, 384, 6)}  # depth, width, heads
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
        for number in range(PICTURES)
    )
    parquet.write_index(
        folder,
        {
            "train": parquet.write(
                folder,
                "train",
                rows,
                schema.IMAGE_SHARD,
                rows_per_group=ROWS,
                groups_per_file=PICTURES,
            )
        },
    )


def ways(root: Path, depth: int, width: int, heads: int) -> dict[str, Callable[[], float]]:
    """What is measured, each in views."""
    torch.manual_seed(0)
    model = VisualTokenizer(
        VQKDConfig(224, 16, depth, 1, width, heads, 8192, 32, 768, 0.99, 0)
    ).eval()
    checkpoint.save(model, root / "tokenizer")
    settings = params.load_shared(VisualTokensParams, "paper.visual_tokens")
    stream = replace(settings.images, sources=["photos"])
    settings = replace(settings, images=stream, batch=ROWS * stream.views)
    tokens = Tokens(model, settings.seed, stream, settings.batch)
    rows = parquet.read_rows(root / "photos", "train", ("key", "image"))
    views = [pixels for row in rows for pixels in tokens.prepare(row["key"], row["image"])[1]]
    batches = [
        images.normalize(torch.from_numpy(np.stack(views[start : start + settings.batch])))
        for start in range(0, len(views), settings.batch)
    ]

    def stage() -> float:
        out = Path(
            tempfile.mkdtemp(dir=root)
        )  # another each time: in the same one the stage finds its work done
        return visual_tokens.tokenize(
            root / "photos", root / "tokenizer", out, "photos", settings, workers=WORKERS
        )["views"]

    return {
        "stage": stage,
        "encoder alone": lambda: [model.token_ids(batch) for batch in batches] and len(views),
    }


def lines(root: Path) -> Iterator[str]:
    """All results."""
    torch.set_num_threads(1)
    write(root / "photos")
    for name, size in SIZES.items():
        found = rates(ways(root, *size), ROUNDS)
        yield (
            f"{name}: stage {found['stage']:.1f} views/s, encoder alone {found['encoder alone']:.1f}: "
            f"{found['stage'] / found['encoder alone']:.2f}"
        )


if __name__ == "__main__":
    report(lines)
