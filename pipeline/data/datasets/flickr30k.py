"""Flickr30K: images from the official tar or a folder of them; split and captions from Karpathy's
file."""

import re
from collections.abc import Callable, Collection, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.datasets.formats import archives, json_stream, karpathy_splits, names, tars
from pipeline.data.datasets.formats.archives import BadMember, Member
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import SPLITS, ImageRecord, Rejected, Split, captioned

KIND = "image"
_IMAGES = ("flickr30k-images.tar.gz", "flickr30k-images", "flickr30k_images")
_NUMBER = re.compile(r"\d{1,20}")
_OFFICIAL = re.compile(r"\d+\.jpg")


@dataclass(frozen=True)
class _Entry:
    """size: bytes of the image file."""

    key: str
    split: Split
    captions: tuple[str, ...]
    image: Member

    @property
    def size(self) -> int:
        return self.image.size


def files(root: Path, splits: Collection[str] = SPLITS) -> list[Path]:
    """The images, which are all in one archive, and the split."""
    images = json_stream.pick(root, *_IMAGES)
    split = karpathy_splits.find(root, "flickr30k")
    if images.is_dir():
        return [*(images / name for name in names.files_below(images)), split]
    return [images, split]


def entries(root: Path, splits: Collection[str] = SPLITS) -> Iterator[_Entry | Rejected]:
    """In archive order; the key is the file name without its suffix, or the path of an image that
    is not called by a number. Some real images are in no split."""
    known: dict[str, karpathy_splits.Entry] = {}
    for listed in karpathy_splits.entries(root, "flickr30k"):
        if isinstance(listed, Rejected):
            yield listed
        elif listed.filename in known:
            yield Rejected(_key(listed.filename), "duplicate key")
        else:
            known[listed.filename] = listed
    for path, image in _images(json_stream.pick(root, *_IMAGES)):
        name = _listed(path, known)
        entry = known.pop(name, None)
        if entry is None:
            yield Rejected(_key(name), "in no split")
        elif entry.split in splits:
            yield _Entry(_key(name), entry.split, entry.captions, image)
    for name, entry in known.items():
        if entry.split in splits:
            yield Rejected(_key(name), "missing image")


@contextmanager
def open_reader(
    root: Path, splits: Collection[str] = SPLITS
) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Images with their captions."""

    def read(entry: _Entry) -> Iterator[ImageRecord | Rejected]:
        try:
            image = entry.image.read()
        except BadMember as error:
            yield Rejected(entry.key, str(error))
        else:
            yield from captioned(entry.key, entry.split, image, entry.captions)

    yield read


def counts(root: Path, sharded: Sharded, splits: Collection[str] = SPLITS) -> dict[str, int]:
    """Images and captions of Karpathy's file, its images that are missing, and images that it does
    not name."""
    return karpathy_splits.counts(root, "flickr30k", splits) | {
        "missing images": sharded.rejected("missing image"),
        "images in no split": sharded.rejected("in no split"),
    }


def evaluation_images(root: Path) -> Iterator[str]:
    """Names of the validation and test images in other data sets: file names are Flickr's
    numbers."""
    for entry in karpathy_splits.usable(root, "flickr30k", ("val", "test")):
        if number := _NUMBER.match(entry.filename):
            yield f"flickr {int(number[0])}"


def _key(name: str) -> str:
    return names.image_key(name, _OFFICIAL)


def _listed(path: str, known: Container[str]) -> str:
    """The name under which a file is listed: its path, without some of the first folders of it."""
    name = path
    while name not in known and "/" in name:
        name = name.partition("/")[2]
    return name


def _images(root: Path) -> Iterator[tuple[str, Member]]:
    """Path and content of each image in a folder or tar."""
    if root.is_dir():
        for name in names.files_below(root):
            yield name, archives.whole_file(root / name)
        return
    for name, stream, size in tars.in_stream(root):
        yield name, tars.load_member(stream, size)
