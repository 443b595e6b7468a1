"""ImageNet-22K: a tar of one tar per synset."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.sources import official, synsets
from pipeline.sources.records import ImageRecord, Rejected

KIND = "image"
_ARCHIVES = ("fall11_whole.tar", "winter21_whole.tar.gz")


def files(root: Path) -> list[Path]:
    """The whole release."""
    return [official.pick(root, *_ARCHIVES)]


def read(root: Path) -> Iterator[ImageRecord | Rejected]:
    """Pictures in archive order; the key is `<wnid>_<number>`, the label the place of the wnid in sorted order.

    A label depends on all names, and the tar may be in any order: hence a pass over the headers first.
    """
    path = official.pick(root, *_ARCHIVES)
    return synsets.read(path, {wnid: label for label, wnid in enumerate(synsets.wnids(path))})
