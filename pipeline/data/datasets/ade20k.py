"""ADE20K's scene-parsing benchmark (2016): `ADEChallengeData2016.zip`, or the folder that it
unpacks to."""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data.datasets.formats import json_stream, names
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import SPLITS, MaskRecord, Rejected, Split
from pipeline.data.transforms.image_decoding import first_frame

KIND = "masks"
_CLASSES = 150
_NAME = "ADEChallengeData2016"
_SPLITS: dict[str, Split] = {"training": "train", "validation": "val"}
_OFFICIAL = re.compile(r"ADE_(?:train|val)_\d{8}\.jpg")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class _Entry:
    """image, mask: names in the tree; size: bytes of the image."""

    key: str
    split: Split
    image: str
    mask: str
    size: int


def files(root: Path, splits: Collection[str] = SPLITS) -> list[Path]:
    """The archive, or all images and masks, whatever their split."""
    path = json_stream.pick(root, f"{_NAME}.zip", _NAME)
    return [path / name for name in names.files_below(path)] if path.is_dir() else [path]


def entries(root: Path, splits: Collection[str] = SPLITS) -> Iterator[_Entry | Rejected]:
    """Images and masks by name; the key is the file name without its suffix, or the path of an
    image that is not called as ADE20K's."""
    with _tree(root) as tree:
        paths = tree.names()
        for folder, split in _folders(splits):
            images = _by_stem(paths, f"images/{folder}/", _IMAGES)
            masks = _by_stem(paths, f"annotations/{folder}/", (".png",))
            for stem in sorted(images.keys() | masks.keys()):
                yield from _entries(stem, split, images.get(stem, []), masks.get(stem, []), tree)


@contextmanager
def open_reader(
    root: Path, splits: Collection[str] = SPLITS
) -> Iterator[Callable[[_Entry], Iterator[MaskRecord | Rejected]]]:
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


def counts(root: Path, sharded: Sharded, splits: Collection[str] = SPLITS) -> dict[str, int]:
    """Images by split, and masks with a value above the number of classes."""
    with _tree(root) as tree:
        paths = tree.names()
    totals: dict[str, int] = {}
    for folder, split in _folders(splits):
        images = _by_stem(paths, f"images/{folder}/", _IMAGES)
        totals[split] = sum(map(len, images.values()))
    unknown = sum(_largest_value(mask) > _CLASSES for mask in sharded.column("mask"))
    return totals | {"masks with other classes": unknown}


def _folders(splits: Collection[str]) -> list[tuple[str, Split]]:
    """Names of the folders of these splits."""
    return [(folder, split) for folder, split in _SPLITS.items() if split in splits]


def _largest_value(mask: bytes) -> int:
    """The largest value of a PNG of mode L."""
    return int(np.asarray(first_frame(mask).image).max())


def _tree(root: Path) -> Tree:
    return Tree(json_stream.pick(root, f"{_NAME}.zip", _NAME), f"{_NAME}/")


def _entries(
    stem: str, split: Split, images: list[str], masks: list[str], tree: Tree
) -> Iterator[_Entry | Rejected]:
    """The images of a path without its suffix, each with the one mask of that path."""
    if not images:
        yield Rejected(stem, "missing image")
    for image in images:
        folder, name = image.split("/", 2)[1:]
        key = names.image_key(name, _OFFICIAL, folder)
        if masks:
            yield _Entry(key, split, image, masks[0], tree.size(image))
        else:
            yield Rejected(key, "missing annotation")


def _by_stem(paths: list[str], folder: str, suffixes: tuple[str, ...]) -> dict[str, list[str]]:
    """The files in a folder that have one of the suffixes, by their path in it without it."""
    by_stem: dict[str, list[str]] = {}
    for path in paths:
        if path.startswith(folder) and path.lower().endswith(suffixes):
            by_stem.setdefault(path.removeprefix(folder).rpartition(".")[0], []).append(path)
    return by_stem
