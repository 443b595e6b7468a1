"""ImageNet's nesting: a tar of one tar per synset, each of flat pictures.

A tar of tars is read in place, synset by synset; a compressed one can only be read from its start
to its end.
"""

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.data.datasets.formats import archives
from pipeline.data.datasets.formats.archives import BadMember, Held, Place
from pipeline.data.records import ImageRecord, Rejected, Split


@dataclass(frozen=True)
class Synset:
    """The tar of a synset."""

    wnid: str
    label: int
    tar: Place

    @property
    def size(self) -> int:
        return self.tar.size


@dataclass(frozen=True)
class Picture:
    """One picture."""

    key: str
    label: int
    picture: Held | Place

    @property
    def size(self) -> int:
        return self.picture.size


def entries(path: Path, labels: Mapping[str, int]) -> Iterator[Synset | Picture | Rejected]:
    """Synsets, or the pictures of a compressed tar, in archive order. `labels` is by synset id."""
    for wnid, content in _tars(path):
        if wnid not in labels:
            yield Rejected(wnid, "unknown synset")
        elif isinstance(content, Place):
            yield Synset(wnid, labels[wnid], content)
        else:
            yield from _streamed(wnid, labels[wnid], content)


def read(entry: Synset | Picture) -> Iterator[ImageRecord | Rejected]:
    """Training pictures; keys are the file names `<wnid>_<number>`."""
    if isinstance(entry, Picture):
        yield picture(entry)
        return
    try:
        for name, place in archives.in_tar(entry.tar):
            yield picture(Picture(Path(name).stem, entry.label, place))
    except tarfile.TarError as error:
        yield Rejected(entry.wnid, f"damaged tar: {error}")


def picture(entry: Picture, split: Split = "train") -> ImageRecord | Rejected:
    """One picture as a record."""
    try:
        return ImageRecord(entry.key, split, entry.picture.read(), (), entry.label)
    except BadMember as error:
        return Rejected(entry.key, str(error))


def wnids(path: Path) -> list[str]:
    """All synset ids in sorted order: a pass over the headers of the outer tar, or over all of a
    compressed one."""
    return sorted(wnid for wnid, _ in _tars(path))


def _tars(path: Path) -> Iterator[tuple[str, Place | IO[bytes]]]:
    """Ids of the synsets and their tars."""
    found = (
        ((member.name, stream) for member, stream in archives.in_stream(path))
        if archives.is_compressed(path)
        else archives.in_tar(archives.whole(path))
    )
    for name, content in found:
        if name.endswith(".tar"):
            yield Path(name).stem, content


def _streamed(wnid: str, label: int, stream: IO[bytes]) -> Iterator[Picture | Rejected]:
    try:
        for member, content in archives.in_stream(stream):
            yield Picture(Path(member.name).stem, label, archives.held(member, content))
    except tarfile.TarError as error:
        yield Rejected(wnid, f"damaged tar: {error}")
