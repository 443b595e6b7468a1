"""ImageNet-22K: a tar of one tar per synset."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.sources import official, synsets
from pipeline.sources.records import ImageRecord, Rejected

KIND = "image"
_ARCHIVES = ("fall11_whole.tar", "winter21_whole.tar.gz")


def files(root: Path) -> list[Path]:
    """The whole release."""
    return [official.pick(root, *_ARCHIVES)]


def entries(root: Path) -> Iterator[synsets.Synset | synsets.Picture | Rejected]:
    """In archive order; the label is the place of the wnid in sorted order.

    A label depends on all names, and the tar may be in any order: hence a pass over the headers first.
    """
    path = official.pick(root, *_ARCHIVES)
    return synsets.entries(path, {wnid: label for label, wnid in enumerate(synsets.wnids(path))})


@contextmanager
def opened(root: Path) -> Iterator[Callable[[synsets.Synset | synsets.Picture], Iterator[ImageRecord | Rejected]]]:
    """Pictures; the key is `<wnid>_<number>`."""
    yield synsets.read
