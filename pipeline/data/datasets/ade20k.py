"""ADE20K's scene-parsing benchmark (2016): `ADEChallengeData2016.zip`, or the folder that it
unpacks to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.datasets.formats import json_stream
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import MaskRecord, Rejected, Split

KIND = "masks"
_CLASSES = 150
_NAME = "ADEChallengeData2016"
_SPLITS: dict[str, Split] = {"training": "train", "validation": "val"}


@dataclass(frozen=True)
class _Entry:
    """image, mask: names in the tree; size: bytes of the image."""

    key: str
    split: Split
    image: str
    mask: str
    size: int


def files(root: Path) -> list[Path]:
    """The archive, or all images and masks."""
    path = json_stream.pick(root, f"{_NAME}.zip", _NAME)
    return sorted(filter(Path.is_file, path.rglob("*"))) if path.is_dir() else [path]


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """Images and masks by name; the key is the file name without its suffix."""
    with _tree(root) as tree:
        names = tree.names()
        for folder, split in _SPLITS.items():
            images = _by_key(names, f"images/{folder}/", ".jpg")
            masks = _by_key(names, f"annotations/{folder}/", ".png")
            for key in sorted(images.keys() | masks.keys()):
                if key not in images:
                    yield Rejected(key, "missing image")
                elif key not in masks:
                    yield Rejected(key, "missing annotation")
                else:
                    yield _Entry(key, split, images[key], masks[key], tree.size(images[key]))


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[MaskRecord | Rejected]]]:
    """Images with their masks."""
    with _tree(root) as tree:

        def read(entry: _Entry) -> Iterator[MaskRecord | Rejected]:
            try:
                image, mask = tree.read(entry.image), tree.read(entry.mask)
            except BadMember as error:
                yield Rejected(entry.key, str(error))
            else:
                yield MaskRecord(entry.key, entry.split, image, mask)

        yield read


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Images by split, and masks with a value above the number of classes."""
    with _tree(root) as tree:
        names = tree.names()
    totals: dict[str, int] = {}
    for folder, split in _SPLITS.items():
        totals[split] = len(_by_key(names, f"images/{folder}/", ".jpg"))
    unknown = sum(_largest_value(mask) > _CLASSES for mask in sharded.column("mask"))
    return totals | {"masks with other classes": unknown}


def _largest_value(mask: bytes) -> int:
    """The largest value of a PNG of mode L."""
    return int(np.asarray(Image.open(BytesIO(mask))).max())


def _tree(root: Path) -> Tree:
    return Tree(json_stream.pick(root, f"{_NAME}.zip", _NAME), f"{_NAME}/")


def _by_key(names: list[str], folder: str, suffix: str) -> dict[str, str]:
    """The names in a folder that have the suffix, by what stands between the two."""
    by_key = {}
    for name in names:
        if name.startswith(folder) and name.endswith(suffix):
            by_key[name.removeprefix(folder).removesuffix(suffix)] = name
    return by_key
