"""ImageNet-22K: a tar of one tar per synset."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.data.datasets.formats import imagenet_tars, json_stream
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import ImageRecord, Rejected

KIND = "image"
_Entry = imagenet_tars.Synset | imagenet_tars.LabeledImage
_ARCHIVES = ("fall11_whole.tar", "winter21_whole.tar.gz")


def files(root: Path) -> list[Path]:
    """The whole release."""
    return [json_stream.pick(root, *_ARCHIVES)]


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """In archive order; the label is the index of the synset id in sorted order.

    A label depends on all names, and the tar may be in any order: hence a pass over the headers
    first.
    """
    path = json_stream.pick(root, *_ARCHIVES)
    labels = {wnid: label for label, wnid in enumerate(imagenet_tars.wnids(path))}
    return imagenet_tars.entries(path, labels)


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Images, usable or not, and synsets."""
    return {
        "images": sharded.rows("train", "val") + sharded.rejected(),
        "synsets": len(imagenet_tars.wnids(json_stream.pick(root, *_ARCHIVES))),
    }


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Images; the key is `<wnid>_<number>`."""
    yield imagenet_tars.read
