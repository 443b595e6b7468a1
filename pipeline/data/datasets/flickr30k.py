"""Flickr30K: pictures from the official tar or a folder of them; split and captions from Karpathy's
file."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.datasets.formats import archives, json_stream, karpathy_splits
from pipeline.data.datasets.formats.archives import BadMember, Held, Place
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import ImageRecord, Rejected, Split, captioned

KIND = "image"
_PICTURES = ("flickr30k-images.tar.gz", "flickr30k-images", "flickr30k_images")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class _Entry:
    key: str
    split: Split
    captions: tuple[str, ...]
    picture: Held | Place

    @property
    def size(self) -> int:
        return self.picture.size


def files(root: Path) -> list[Path]:
    """The pictures and the split."""
    place = json_stream.pick(root, *_PICTURES)
    return [
        *(sorted(place.iterdir()) if place.is_dir() else [place]),
        karpathy_splits.find(root, "flickr30k"),
    ]


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """In archive order; the key is the file name without its suffix. Some real pictures are in no
    split."""
    known = {entry.filename: entry for entry in karpathy_splits.entries(root, "flickr30k")}
    for name, picture in _pictures(json_stream.pick(root, *_PICTURES)):
        key = Path(name).stem
        entry = known.pop(name, None)
        if entry is None:
            yield Rejected(key, "in no split")
        else:
            yield _Entry(key, entry.split, entry.captions, picture)
    for name in known:
        yield Rejected(Path(name).stem, "missing image")


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Pictures with their captions."""

    def read(entry: _Entry) -> Iterator[ImageRecord | Rejected]:
        try:
            image = entry.picture.read()
        except BadMember as error:
            yield Rejected(entry.key, str(error))
        else:
            yield from captioned(entry.key, entry.split, image, entry.captions)

    yield read


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """What Karpathy's file names, which of its pictures are missing, and how many others there
    are."""
    return karpathy_splits.counts(root, "flickr30k") | {
        "missing images": sharded.rejected("missing image"),
        "images in no split": sharded.rejected("in no split"),
    }


def evaluation_images(root: Path) -> Iterator[str]:
    """What other data sets call the validation and test pictures: their names are Flickr's
    numbers."""
    for entry in karpathy_splits.entries(root, "flickr30k"):
        if entry.split != "train" and (number := _NUMBER.match(entry.filename)):
            yield f"flickr {int(number[0])}"


def _pictures(place: Path) -> Iterator[tuple[str, Held | Place]]:
    """File names and bytes, or where these are."""
    if place.is_dir():
        for path in sorted(place.iterdir()):
            yield path.name, archives.whole(path)
        return
    for member, stream in archives.in_stream(place):
        yield member.name.rpartition("/")[2], archives.held(member, stream)
