"""Flickr30K: images from the official tar or a folder of them; split and captions from Karpathy's
file."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.datasets.formats import archives, json_stream, karpathy_splits
from pipeline.data.datasets.formats.archives import BadMember, FileSlice, LoadedMember
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import ImageRecord, Rejected, Split, captioned

KIND = "image"
_IMAGES = ("flickr30k-images.tar.gz", "flickr30k-images", "flickr30k_images")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class _Entry:
    """size: bytes of the image file."""

    key: str
    split: Split
    captions: tuple[str, ...]
    image: LoadedMember | FileSlice

    @property
    def size(self) -> int:
        return self.image.size


def files(root: Path) -> list[Path]:
    """The images and the split."""
    images = json_stream.pick(root, *_IMAGES)
    paths = sorted(images.iterdir()) if images.is_dir() else [images]
    return [*paths, karpathy_splits.find(root, "flickr30k")]


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """In archive order; the key is the file name without its suffix. Some real images are in no
    split."""
    known = {entry.filename: entry for entry in karpathy_splits.entries(root, "flickr30k")}
    for name, image in _images(json_stream.pick(root, *_IMAGES)):
        key = Path(name).stem
        entry = known.pop(name, None)
        if entry is None:
            yield Rejected(key, "in no split")
        else:
            yield _Entry(key, entry.split, entry.captions, image)
    for name in known:
        yield Rejected(Path(name).stem, "missing image")


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Images with their captions."""

    def read(entry: _Entry) -> Iterator[ImageRecord | Rejected]:
        try:
            image = entry.image.read()
        except BadMember as error:
            yield Rejected(entry.key, str(error))
        else:
            yield from captioned(entry.key, entry.split, image, entry.captions)

    yield read


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Images and captions of Karpathy's file, its images that are missing, and images that it does
    not name."""
    return karpathy_splits.counts(root, "flickr30k") | {
        "missing images": sharded.rejected("missing image"),
        "images in no split": sharded.rejected("in no split"),
    }


def evaluation_images(root: Path) -> Iterator[str]:
    """Names of the validation and test images in other data sets: file names are Flickr's
    numbers."""
    for entry in karpathy_splits.entries(root, "flickr30k"):
        if entry.split != "train" and (number := _NUMBER.match(entry.filename)):
            yield f"flickr {int(number[0])}"


def _images(root: Path) -> Iterator[tuple[str, LoadedMember | FileSlice]]:
    """File name and content of each image in a folder or tar."""
    if root.is_dir():
        for path in sorted(root.iterdir()):
            yield path.name, archives.whole_file(path)
        return
    for member, stream in archives.in_stream(root):
        yield member.name.rpartition("/")[2], archives.load_member(member, stream)
