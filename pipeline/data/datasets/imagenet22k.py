"""ImageNet-22K: a tar of one tar per synset, or a folder of these tars or of class folders."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.data.datasets.formats import imagenet_tars, json_stream, names
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import ImageRecord, Rejected

KIND = "image"
_Entry = imagenet_tars.Synset | imagenet_tars.LabeledImage
_FORMS = ("fall11_whole.tar", "winter21_whole.tar.gz", "fall11_whole", "winter21_whole", "train")


def files(root: Path) -> list[Path]:
    """The whole release, or all files of its folder."""
    path = json_stream.pick(root, *_FORMS)
    return [path / name for name in names.files_below(path)] if path.is_dir() else [path]


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """In the order of the archive or of names; the label is the index of the synset id in sorted order.

    A label depends on all names, and a tar may be in any order: hence a pass over the headers
    first.
    """
    path = json_stream.pick(root, *_FORMS)
    labels = {wnid: label for label, wnid in enumerate(imagenet_tars.wnids(path))}
    return imagenet_tars.entries(path, labels)


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Images, usable or not, and synsets."""
    return {
        "images": sharded.rows("train", "val") + sharded.rejected(),
        "synsets": len(imagenet_tars.wnids(json_stream.pick(root, *_FORMS))),
    }


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Images; the key is `<wnid>_<number>`, or `<wnid>/<path>` for files that are not called so."""
    yield imagenet_tars.read
