"""ADE20K's scene-parsing benchmark (2016): `ADEChallengeData2016.zip`, or the folder that it
unpacks to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

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
    key: str
    split: Split
    picture: str
    mask: str
    size: int


def files(root: Path) -> list[Path]:
    """The archive, or all pictures and masks."""
    place = json_stream.pick(root, f"{_NAME}.zip", _NAME)
    return (
        sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    )


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """Pictures and masks by name; the key is the file name without its suffix."""
    with _tree(root) as tree:
        names = tree.names()
        for folder, split in _SPLITS.items():
            pictures = _by_key(names, f"images/{folder}/", ".jpg")
            masks = _by_key(names, f"annotations/{folder}/", ".png")
            for key in sorted(pictures.keys() | masks.keys()):
                if key not in pictures or key not in masks:
                    yield Rejected(
                        key, "missing image" if key not in pictures else "missing annotation"
                    )
                else:
                    yield _Entry(key, split, pictures[key], masks[key], tree.size(pictures[key]))


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[MaskRecord | Rejected]]]:
    """Pictures with their masks."""
    with _tree(root) as tree:

        def read(entry: _Entry) -> Iterator[MaskRecord | Rejected]:
            try:
                yield MaskRecord(
                    entry.key, entry.split, tree.read(entry.picture), tree.read(entry.mask)
                )
            except BadMember as error:
                yield Rejected(entry.key, str(error))

        yield read


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Pictures by split, and masks with a value above the number of classes."""
    with _tree(root) as tree:
        names = tree.names()
    found = {
        split: len(_by_key(names, f"images/{folder}/", ".jpg")) for folder, split in _SPLITS.items()
    }
    return found | {
        "masks with other classes": sum(
            _largest(mask) > _CLASSES for mask in sharded.column("mask")
        )
    }


def _largest(mask: bytes) -> int:
    """The largest value of a PNG of mode L."""
    return Image.open(BytesIO(mask)).getextrema()[1]


def _tree(root: Path) -> Tree:
    return Tree(json_stream.pick(root, f"{_NAME}.zip", _NAME), f"{_NAME}/")


def _by_key(names: list[str], folder: str, suffix: str) -> dict[str, str]:
    return {
        name.removeprefix(folder).removesuffix(suffix): name
        for name in names
        if name.startswith(folder) and name.endswith(suffix)
    }
