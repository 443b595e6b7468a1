"""Flickr30K: pictures from the official tar or a folder of them; split and captions from Karpathy's file."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.sources import karpathy, official
from pipeline.sources.records import ImageRecord, Rejected, captioned

KIND = "image"
_PICTURES = ("flickr30k-images.tar.gz", "flickr30k-images", "flickr30k_images")


def files(root: Path) -> list[Path]:
    """The pictures and the split."""
    place = official.pick(root, *_PICTURES)
    return [*(sorted(place.iterdir()) if place.is_dir() else [place]), karpathy.find(root, "flickr30k")]


def read(root: Path) -> Iterator[ImageRecord | Rejected]:
    """Pictures in archive order; the key is the file name without its suffix. Some real pictures are in no split."""
    entries = {entry.filename: entry for entry in karpathy.entries(root, "flickr30k")}
    for name, image in _pictures(official.pick(root, *_PICTURES)):
        entry = entries.pop(name, None)
        if entry is None:
            yield Rejected(Path(name).stem, "in no split")
        else:
            yield from captioned(Path(name).stem, entry.split, image, entry.captions)
    for name in entries:
        yield Rejected(Path(name).stem, "missing picture")


def _pictures(place: Path) -> Iterator[tuple[str, bytes]]:
    """File names and bytes."""
    if place.is_dir():
        for path in sorted(place.iterdir()):
            yield path.name, path.read_bytes()
        return
    with tarfile.open(place, "r|*") as archive:
        for member in archive:
            if member.isfile():
                yield member.name.rpartition("/")[2], archive.extractfile(member).read()
