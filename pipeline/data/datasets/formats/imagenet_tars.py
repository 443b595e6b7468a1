"""ImageNet's nesting: a tar of one tar per synset, each of flat images; or a folder of these, or of
one folder per synset.

A tar of tars is read in place, synset by synset; a compressed one can only be read from its start
to its end.
"""

import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.data.datasets.formats import archives, names, tars
from pipeline.data.datasets.formats.archives import BadMember, FileSlice, Member, UnusableMember
from pipeline.data.records import ImageRecord, Rejected, Split

_SYNSET = re.compile(r"n\d{8}")
_OFFICIAL = re.compile(r"n\d+_\d+\.JPEG")


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
    file: Member

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.size


def entries(path: Path, labels: Mapping[str, int]) -> Iterator[Synset | LabeledImage | Rejected]:
    """Synsets, or the images of a compressed tar or of folders, in the order of the archive or of
    names.

    labels: class index by synset id.
    """
    for wnid, content in _synsets(path):
        if wnid not in labels:
            yield Rejected(wnid, "unknown synset")
        elif isinstance(content, FileSlice):
            yield Synset(wnid, labels[wnid], content)
        elif isinstance(content, Path):
            yield from folder_images(content, wnid, labels[wnid])
        elif isinstance(content, UnusableMember):
            yield Rejected(wnid, content.reason)
        else:
            yield from _streamed_images(wnid, labels[wnid], content)


def read(entry: Synset | LabeledImage) -> Iterator[ImageRecord | Rejected]:
    """Training images; keys are the file names `<wnid>_<number>`, and `<wnid>/<path>` where names
    are others."""
    if isinstance(entry, LabeledImage):
        yield image_record(entry)
        return
    try:
        for name, file in tars.in_tar(entry.tar):
            yield image_record(LabeledImage(_key(entry.wnid, name), entry.label, file))
    except tarfile.TarError as error:
        yield Rejected(entry.wnid, f"damaged tar: {error}")


def image_record(entry: LabeledImage, split: Split = "train") -> ImageRecord | Rejected:
    """One image as a record."""
    try:
        return ImageRecord(entry.key, split, entry.file.read(), (), entry.label)
    except BadMember as error:
        return Rejected(entry.key, str(error))


def folder_images(folder: Path, wnid: str, label: int) -> Iterator[LabeledImage]:
    """The images in the folder of a synset."""
    for name in names.files_below(folder):
        yield LabeledImage(_key(wnid, name), label, archives.whole_file(folder / name))


def wnids(path: Path) -> list[str]:
    """All synset ids in sorted order: a pass over the headers of the outer tar, or over all of a
    compressed one. Where there are any of WordNet's form, others are none."""
    found = set()
    for wnid, content in _synsets(path):
        if not isinstance(content, UnusableMember):
            found.add(wnid)
    return sorted(set(filter(_SYNSET.fullmatch, found)) or found)


def synset_folders(folder: Path) -> dict[str, Path]:
    """Folders by name, sorted, of what may be classes."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and names.is_data(path.name):
            found[path.name] = path
    return found


def _key(wnid: str, name: str) -> str:
    name = name.removeprefix("./").removeprefix(f"{wnid}/")
    return names.image_key(name, _OFFICIAL, wnid)


def _synsets(path: Path) -> Iterable[tuple[str, FileSlice | UnusableMember | IO[bytes] | Path]]:
    """Id of each synset, and its tar or folder."""
    if path.is_dir():
        return sorted((synset_folders(path) | _tars_of(path)).items())
    return _tars_in(path)


def _tars_of(folder: Path) -> dict[str, FileSlice]:
    """Tars of synsets in a folder."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        if path.is_file() and names.is_data(path.name):
            found[path.stem] = archives.whole_file(path)
    return found


def _tars_in(path: Path) -> Iterator[tuple[str, FileSlice | UnusableMember | IO[bytes]]]:
    """Tars of synsets in a tar."""
    for name, content in _members(path):
        if name.endswith(".tar"):
            yield Path(name).stem, content


def _members(path: Path) -> Iterator[tuple[str, FileSlice | UnusableMember | IO[bytes]]]:
    if not tars.is_compressed(path):
        yield from tars.in_tar(archives.whole_file(path))
        return
    for name, stream, _ in tars.in_stream(path):
        yield name, tars.IRREGULAR if stream is None else stream


def _streamed_images(wnid: str, label: int, stream: IO[bytes]) -> Iterator[LabeledImage | Rejected]:
    try:
        for name, content, size in tars.in_stream(stream):
            yield LabeledImage(_key(wnid, name), label, tars.load_member(content, size))
    except tarfile.TarError as error:
        yield Rejected(wnid, f"damaged tar: {error}")
