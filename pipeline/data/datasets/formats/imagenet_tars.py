"""ImageNet's nesting: a tar of one tar per synset, each of flat images.

A tar of tars is read in place, synset by synset; a compressed one can only be read from its start
to its end.
"""

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.data.datasets.formats import archives
from pipeline.data.datasets.formats.archives import BadMember, FileSlice, LoadedMember
from pipeline.data.records import ImageRecord, Rejected, Split


@dataclass(frozen=True)
class Synset:
    """The tar of a synset, with the class index of its images."""

    wnid: str
    label: int
    tar: FileSlice

    @property
    def size(self) -> int:
        """Bytes."""
        return self.tar.size


@dataclass(frozen=True)
class LabeledImage:
    """One image file with its class index."""

    key: str
    label: int
    file: LoadedMember | FileSlice

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.size


def entries(path: Path, labels: Mapping[str, int]) -> Iterator[Synset | LabeledImage | Rejected]:
    """Synsets, or the images of a compressed tar, in archive order.

    labels: class index by synset id.
    """
    for wnid, content in _tars(path):
        if wnid not in labels:
            yield Rejected(wnid, "unknown synset")
        elif isinstance(content, FileSlice):
            yield Synset(wnid, labels[wnid], content)
        else:
            yield from _streamed_images(wnid, labels[wnid], content)


def read(entry: Synset | LabeledImage) -> Iterator[ImageRecord | Rejected]:
    """Training images; keys are the file names `<wnid>_<number>`."""
    if isinstance(entry, LabeledImage):
        yield image_record(entry)
        return
    try:
        for name, file in archives.in_tar(entry.tar):
            yield image_record(LabeledImage(Path(name).stem, entry.label, file))
    except tarfile.TarError as error:
        yield Rejected(entry.wnid, f"damaged tar: {error}")


def image_record(entry: LabeledImage, split: Split = "train") -> ImageRecord | Rejected:
    """One image as a record."""
    try:
        return ImageRecord(entry.key, split, entry.file.read(), (), entry.label)
    except BadMember as error:
        return Rejected(entry.key, str(error))


def wnids(path: Path) -> list[str]:
    """All synset ids in sorted order: a pass over the headers of the outer tar, or over all of a
    compressed one."""
    return sorted(wnid for wnid, _ in _tars(path))


def _tars(path: Path) -> Iterator[tuple[str, FileSlice | IO[bytes]]]:
    """Id of each synset and its tar."""
    for name, content in _members(path):
        if name.endswith(".tar"):
            yield Path(name).stem, content


def _members(path: Path) -> Iterator[tuple[str, FileSlice | IO[bytes]]]:
    if archives.is_compressed(path):
        for member, stream in archives.in_stream(path):
            yield member.name, stream
    else:
        yield from archives.in_tar(archives.whole_file(path))


def _streamed_images(wnid: str, label: int, stream: IO[bytes]) -> Iterator[LabeledImage | Rejected]:
    try:
        for member, content in archives.in_stream(stream):
            file = archives.load_member(member, content)
            yield LabeledImage(Path(member.name).stem, label, file)
    except tarfile.TarError as error:
        yield Rejected(wnid, f"damaged tar: {error}")
