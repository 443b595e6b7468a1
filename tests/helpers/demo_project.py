"""A project with random models and, unlike `exported`'s, with the test sets that the page to try
models shows."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from model import checkpoint
from model.tokenizer.vqkd import VisualTokenizer, VQKDConfig
from pipeline.data.shards import parquet, schema
from tests.helpers import exported
from tests.helpers.doc_examples import WORDS
from tests.helpers.image_files import encoded
from tests.helpers.toy import BACKBONE

ROWS = 8  # of each data set
CODEBOOK = 8  # visual tokens, of `exported`'s pretrained model
PATCHES = BACKBONE.patches
CLASSES = {"imagenet1k": 6, "imagenet22k": 12}  # of `exported`'s models
IDENTITY = [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def image(number: int) -> bytes:
    """A PNG of 16x16 pixels that differs for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def write(root: Path) -> None:
    """The project, in a folder."""
    exported.write_project(root)
    shards = root / "data/small/shards"
    size = {"width": 16, "height": 16}
    captioned = [
        {
            "key": str(n),
            "image": image(n),
            "label": -1,
            "captions": [caption(n), caption(n + 8)],
            **size,
        }
        for n in range(ROWS)
    ]
    _write(shards / "coco", ("val", "test"), captioned, schema.IMAGE_SHARD)
    _write(shards / "flickr30k", ("test",), captioned, schema.IMAGE_SHARD)
    _write_classes(shards)
    answered = {"questions": [WORDS[0]], "answers": [["star"] * 10], **size}
    questions = [{"key": str(n), "image": image(n), "ids": [n], **answered} for n in range(ROWS)]
    _write(shards / "vqav2", ("test",), questions, schema.QUESTION_SHARD)
    statements = [
        {"key": str(n), "left": image(n), "right": image(n + 1), "statement": WORDS[1]}
        | {"label": n % 2, "group": str(n)}
        for n in range(ROWS)
    ]
    _write(shards / "nlvr2", ("test",), statements, schema.STATEMENT_SHARD)
    mask = encoded(Image.new("L", (16, 16), 3), "PNG")
    masks = [{"key": str(n), "image": image(n), "mask": mask, **size} for n in range(ROWS)]
    _write(shards / "ade20k", ("val",), masks, schema.MASK_SHARD)
    _write_visual_tokens(root / "data/small")


def _write_classes(shards: Path) -> None:
    """Images of which each has a class: the first has class 3."""
    for source, classes in CLASSES.items():
        rows = []
        for n in range(ROWS):
            row = {"key": key(n, classes), "image": image(n), "label": (3 + n) % classes}
            rows.append(row | {"captions": [], "width": 16, "height": 16})
        _write(shards / source, ("val",), rows, schema.IMAGE_SHARD)


def key(number: int, classes: int) -> str:
    """Of an image of ImageNet, which begins with the synset id of its class."""
    return f"n{(3 + number) % classes:08d}_{number}"


def caption(number: int) -> str:
    """No other number has one that begins like it."""
    words = " ".join(WORDS).split()
    return " ".join(words[(number + step) % len(words)] for step in range(3))


def _write(
    folder: Path, splits: Iterable[str], rows: list[dict[str, Any]], kind: pa.Schema
) -> None:
    written = {
        split: parquet.write(folder, split, rows, kind, rows_per_group=4, groups_per_file=9)
        for split in (*splits, "train")
    }
    parquet.write_index(folder, written, rejected={})


def _write_visual_tokens(data: Path) -> None:
    """Those of imagenet22k, one view of each image, and the model that images become them by."""
    view = {"box": [0, 0, 16, 16], "flip": [False], "matrix": IDENTITY}
    tokens = np.random.default_rng(0).integers(0, CODEBOOK, (ROWS, PATCHES))
    classes = CLASSES["imagenet22k"]
    rows = [{"key": key(n, classes), **view, "tokens": tokens[n].tolist()} for n in range(ROWS)]
    kind = schema.visual_tokens(1, PATCHES)
    _write(data / "visual_tokens/imagenet22k", ("train",), rows, kind)
    torch.manual_seed(0)
    config = VQKDConfig(16, BACKBONE.patch_size, 1, 1, 16, 2, CODEBOOK, 8, 5, 0.99, 0)
    checkpoint.save(VisualTokenizer(config), data / "visual_tokenizer/model")
