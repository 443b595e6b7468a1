"""COCO 2014: pictures from the official zips; split and captions from Karpathy's `dataset_coco.json`.

Karpathy's file repeats every official caption and tells by `filepath` which zip holds the picture, so it is the only
truth read here: `captions_*.json` would say the same without the split.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.sources import karpathy, official
from pipeline.sources.records import ImageRecord, Rejected, captioned

KIND = "image"
_ZIPS = ("train2014", "val2014")


def files(root: Path) -> list[Path]:
    """The picture zips and the split."""
    return [*(official.pick(root, f"{name}.zip") for name in _ZIPS), karpathy.find(root, "coco")]


def read(root: Path) -> Iterator[ImageRecord | Rejected]:
    """Pictures in the order of the split file; the key is the file name without its suffix."""
    with zipfile.ZipFile(root / "train2014.zip") as train, zipfile.ZipFile(root / "val2014.zip") as val:
        archives = dict(zip(_ZIPS, (train, val), strict=True))
        for entry in karpathy.entries(root, "coco"):
            key = Path(entry.filename).stem
            archive = archives.get(entry.folder)
            image = official.read_member(archive, f"{entry.folder}/{entry.filename}") if archive else None
            if image is None:
                yield Rejected(key, "missing picture")
            else:
                yield from captioned(key, entry.split, image, entry.captions)
