"""ImageNet-22K: a tar of one tar per synset."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.sources import official, synsets
from pipeline.sources.records import ImageRecord, Rejected
from pipeline.sources.sharded import Sharded

KIND = "image"
EXACT: dict[str, int] = {}
ABOUT = {"pictures": 14_197_122, "synsets": 21_841}  # of the release of fall 2011
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


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Pictures, usable or not, and synsets."""
    return {"pictures": sharded.rows("train", "val") + sharded.rejected(),
            "synsets": len(synsets.wnids(official.pick(root, *_ARCHIVES)))}


@contextmanager
def opened(root: Path) -> Iterator[Callable[[synsets.Synset | synsets.Picture], Iterator[ImageRecord | Rejected]]]:
    """Pictures; the key is `<wnid>_<number>`."""
    yield synsets.read
